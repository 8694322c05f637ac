"""Thin tasks: an id in, one service called."""

import uuid
from typing import Any

from celery import shared_task

from mltraining.worker_calls import scoring_task

from . import analysis, promotion, retraining, services
from .batches import services as batches


@scoring_task("enrollment.analyse_sample")
def analyse_sample(payload: dict[str, Any]) -> dict[str, Any]:
    """See ``analysis.analyse_sample``."""
    return analysis.analyse_sample(**payload)


@shared_task(name="enrollment.expire_unused")
def expire_unused() -> None:
    services.expire_unused()
    batches.purge_results()


@shared_task(name="enrollment.run_training")
def run_training(run_id: str) -> None:
    retraining.execute_training(uuid.UUID(run_id))


@shared_task(name="enrollment.run_promotion")
def run_promotion(version: str) -> None:
    promotion.execute_promotion(version)


@shared_task(name="enrollment.recover_runs")
def recover_runs() -> None:
    retraining.recover()
    batches.recover()


@shared_task(name="enrollment.scheduled_retrain")
def scheduled_retrain() -> None:
    retraining.request_scheduled_training()
