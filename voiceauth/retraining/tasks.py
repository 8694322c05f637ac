"""Thin tasks: an id in, one service called."""

import uuid

from celery import shared_task

from voiceauth.retraining import promotion
from voiceauth.retraining import training as retraining


@shared_task(name="retraining.run_training")
def run_training(run_id: str) -> None:
    retraining.execute_training(uuid.UUID(run_id))


@shared_task(name="retraining.run_promotion")
def run_promotion(version: str) -> None:
    promotion.execute_promotion(version)


@shared_task(name="retraining.recover")
def recover() -> None:
    retraining.recover()


@shared_task(name="retraining.scheduled_retrain")
def scheduled_retrain() -> None:
    retraining.request_scheduled_training()
