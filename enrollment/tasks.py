"""Thin tasks: an id in, one service called."""

import uuid

from celery import shared_task

from . import promotion, retraining


@shared_task(name="enrollment.run_training")
def run_training(run_id: str) -> None:
    retraining.execute_training(uuid.UUID(run_id))


@shared_task(name="enrollment.run_promotion")
def run_promotion(version: str) -> None:
    promotion.execute_promotion(version)


@shared_task(name="enrollment.recover_runs")
def recover_runs() -> None:
    retraining.recover()


@shared_task(name="enrollment.scheduled_retrain")
def scheduled_retrain() -> None:
    retraining.request_scheduled_training()
