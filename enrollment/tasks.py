"""Thin tasks: an id in, one service called."""

from typing import Any

from celery import shared_task

from enrollment import analysis, services
from enrollment.batches import services as batches
from mltraining.worker_calls import scoring_task


@scoring_task("enrollment.analyse_sample")
def analyse_sample(payload: dict[str, Any]) -> dict[str, Any]:
    """See ``analysis.analyse_sample``."""
    return analysis.analyse_sample(**payload)


@shared_task(name="enrollment.expire_unused")
def expire_unused() -> None:
    services.expire_unused()
    batches.purge_results()
