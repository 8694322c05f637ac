"""Reads of training runs, and of models with their promotions and recalibrations."""

import uuid

from django.db.models import QuerySet

from mltraining.errors import ModelNotFound
from mltraining.models import ModelVersion
from voiceauth.retraining.errors import RecalibrationNotFound, RunNotFound
from voiceauth.retraining.models import Promotion, Recalibration, TrainingRun


def training_runs() -> QuerySet[TrainingRun]:
    """Return all runs, the newest first."""
    return TrainingRun.objects.select_related("model")


def open_runs() -> QuerySet[TrainingRun]:
    """Return the runs that are queued or running."""
    return TrainingRun.objects.filter(state__in=TrainingRun.OPEN)


def training_run(run_id: uuid.UUID) -> TrainingRun:
    """Return a run. Raises ``RunNotFound``."""
    run = training_runs().filter(id=run_id).first()
    if run is None:
        raise RunNotFound
    return run


def models() -> QuerySet[ModelVersion]:
    """Return all models with their promotions and calibrations, the newest first."""
    return ModelVersion.objects.prefetch_related("promotions", "calibrations")


def model(version: str) -> ModelVersion:
    """Return a model. Raises ``ModelNotFound``."""
    found = models().filter(version=version).first()
    if found is None:
        raise ModelNotFound
    return found


def last_promotion(model: ModelVersion) -> Promotion | None:
    """Return the model's promotion that is under way or was the last; ``None`` where none was ever asked for."""
    return next(iter(model.promotions.all()), None)


def recalibrations() -> QuerySet[Recalibration]:
    """Return all calibrations that were fitted here, the newest first."""
    return Recalibration.objects.select_related("model")


def recalibration(recalibration_id: uuid.UUID) -> Recalibration:
    """Return one of them. Raises ``RecalibrationNotFound``."""
    found = recalibrations().filter(id=recalibration_id).first()
    if found is None:
        raise RecalibrationNotFound
    return found
