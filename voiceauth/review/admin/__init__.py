"""The pages of the review site, one module an area."""

from voiceauth.review.admin import (  # noqa: F401  (registers them)
    approvals,
    audit,
    batches,
    cases,
    clients,
    customers,
    decisions,
    drift,
    erasures,
    held,
    models,
    people,
    policies,
    recalibrations,
    training,
    watchlists,
    webhooks,
)
