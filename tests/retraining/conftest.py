from tests.customers import admin, ivr, reviewer, teller, worker

__all__ = ["admin", "ivr", "reviewer", "teller", "worker"]
