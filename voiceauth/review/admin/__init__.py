"""The pages of the review site, one module an area."""

from . import audit, clients, customers, decisions, models, people, training  # noqa: F401  (registers them)
