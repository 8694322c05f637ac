"""The bank's limits: what a recording, an attempt and a transaction tier must have. Versioned, and audited."""
