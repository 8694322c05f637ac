"""Thin: one call."""

from celery import shared_task

from voiceauth.platform.jobs import services


@shared_task(name="jobs.recover")
def recover() -> None:
    """Take up the jobs whose worker died or whose message was lost."""
    services.recover()
