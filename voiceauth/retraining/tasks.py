"""Thin tasks: an id in, one call.

Scoring workers load this module too, so what brings pandas and scikit-learn is imported where it runs.
"""

import uuid

from celery import shared_task

from voiceauth.retraining import services, training_data


@shared_task(name="retraining.run_training")
def run_training(run_id: str) -> None:
    """Carry out the training run with this id."""
    from voiceauth.retraining import training

    training.execute(uuid.UUID(run_id))


@shared_task(name="retraining.run_promotion")
def run_promotion(promotion_id: str) -> None:
    """Carry out the promotion with this id."""
    from voiceauth.retraining import promotion

    promotion.execute(uuid.UUID(promotion_id))


@shared_task(name="retraining.run_recalibration")
def run_recalibration(recalibration_id: str) -> None:
    """Fit the calibration with this id."""
    from voiceauth.retraining import recalibration_job

    recalibration_job.execute(uuid.UUID(recalibration_id))


@shared_task(name="retraining.sweep_training_data")
def sweep_training_data() -> None:
    """Remove the recordings and the output of runs that have ended."""
    training_data.sweep()


@shared_task(name="retraining.scheduled_retrain")
def scheduled_retrain() -> None:
    """Queue the periodic retrain."""
    services.request_scheduled_training()
