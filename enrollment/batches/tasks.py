"""Thin: an id in, one service called."""

import uuid

from celery import shared_task

from enrollment.batches import processing


@shared_task(name="batches.run")
def run(batch_id: str) -> None:
    """Carry on the batch enrollment with this id."""
    processing.execute(uuid.UUID(batch_id))
