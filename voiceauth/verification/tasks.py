"""What the scoring worker answers about calls, and the hourly purge. Thin: one call each."""

from typing import Any

from celery import shared_task

from mltraining.worker_calls import scoring_task
from voiceauth.verification import scoring, services


@scoring_task("verification.score_call")
def score_call(payload: dict[str, Any]) -> dict[str, Any]:
    """See ``scoring.score_call``."""
    return scoring.score_call(**payload)


@shared_task(name="verification.purge_expired")
def purge_expired() -> None:
    services.purge_expired()
