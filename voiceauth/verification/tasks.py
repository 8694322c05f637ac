"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from voiceauth.verification import call_audio, drift


@shared_task(name="verification.purge_expired")
def purge_expired() -> None:
    """Delete call recordings past their time, and answers kept for repeated requests."""
    call_audio.purge_expired()


@shared_task(name="verification.watch_drift")
def watch_drift() -> None:
    """Compare the calls of the last week with those that the model in service began with, once a day."""
    drift.watch()
