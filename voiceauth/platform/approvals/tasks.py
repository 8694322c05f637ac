"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from voiceauth.platform.approvals import services


@shared_task(name="approvals.expire")
def expire() -> None:
    """Expire requests past their time."""
    services.expire()
