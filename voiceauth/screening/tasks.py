"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from voiceauth.screening import services, watchlists


@shared_task(name="screening.forget_recent")
def forget_recent() -> None:
    """Delete the voices of calls that are older than the velocity check looks at."""
    services.forget_recent()


@shared_task(name="screening.expire_fraudsters")
def expire_fraudsters() -> None:
    """Erase fraudsters past their time."""
    watchlists.expire_fraudsters()
