"""Thin tasks: an id in, one service called."""

import uuid

from celery import shared_task

from enrollment.batches import processing, services


@shared_task(name="batches.run")
def run(batch_id: str) -> None:
    processing.execute(uuid.UUID(batch_id))


@shared_task(name="batches.recover")
def recover() -> None:
    services.recover()
