"""The story of ``make demo``, told through the REST API only. Imports nothing else of ours."""
