"""Periodic tasks. Thin: one service called."""

from celery import shared_task

from voiceauth.review.trial import services


@shared_task(name="review.forget_trials")
def forget_trials() -> None:
    """Erase the trials of ``/try`` that are over."""
    services.forget_old()
