"""Thin: one call."""

from uuid import UUID

from celery import shared_task

from voiceauth.platform.erasure import job


@shared_task(name="erasure.run")
def run(erasure_id: str) -> None:
    """Carry out one attempt at the erasure with this id."""
    job.execute(UUID(erasure_id))
