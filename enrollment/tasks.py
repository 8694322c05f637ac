"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from enrollment import services
from enrollment.batches import services as batches


@shared_task(name="enrollment.expire_unused")
def expire_unused() -> None:
    """Erase voices that were not used for too long, and batch results past their time."""
    services.expire_unused()
    batches.purge_results()
