"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from enrollment import enrichment, services
from enrollment.batches import services as batches


@shared_task(name="enrollment.expire_unused")
def expire_unused() -> None:
    """Erase voices that were not used for too long, confirmed calls and batch results past their time."""
    services.expire_unused()
    enrichment.expire_calls()
    batches.purge_results()


@shared_task(name="enrollment.forget_changes")
def forget_changes() -> None:
    """Delete the log of changed voiceprints that every scoring process has read."""
    from enrollment import gallery  # the maintenance of a scoring worker

    gallery.forget_changes()
