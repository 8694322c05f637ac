"""Benchmarks of the whole service: the real processes, started for the run and driven as clients drive them."""
