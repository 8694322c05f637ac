"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from voiceauth.verification import call_audio


@shared_task(name="verification.purge_expired")
def purge_expired() -> None:
    """Delete call recordings past their time, and answers kept for repeated requests."""
    call_audio.purge_expired()
