"""What the scoring worker answers about fraudsters, and what beat has forgotten. Thin: one call each."""

from typing import Any

from celery import shared_task

from mltraining.worker_calls import scoring_task
from voiceauth.screening import services, watch, watchlists


@scoring_task("screening.analyse_fraudster")
def analyse_fraudster(payload: dict[str, Any]) -> dict[str, Any]:
    """See ``watch.analyse_fraudster``."""
    return watch.analyse_fraudster(**payload)


@shared_task(name="screening.forget_recent")
def forget_recent() -> None:
    services.forget_recent()


@shared_task(name="screening.expire_fraudsters")
def expire_fraudsters() -> None:
    watchlists.expire_fraudsters()
