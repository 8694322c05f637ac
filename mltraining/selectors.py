"""Reads of training runs and models."""

import uuid

from django.db.models import QuerySet

from .errors import ModelNotFound, RunNotFound
from .models import ModelVersion, TrainingRun


def training_runs() -> QuerySet[TrainingRun]:
    """All runs, the newest first."""
    return TrainingRun.objects.select_related("model")


def unfinished_runs() -> QuerySet[TrainingRun]:
    """Runs that are queued or running."""
    return TrainingRun.objects.exclude(state__in=TrainingRun.TERMINAL)


def training_run(run_id: uuid.UUID) -> TrainingRun:
    """Raises ``RunNotFound``."""
    run = training_runs().filter(id=run_id).first()
    if run is None:
        raise RunNotFound
    return run


def models() -> QuerySet[ModelVersion]:
    """All models, the newest first."""
    return ModelVersion.objects.all()


def model(version: str) -> ModelVersion:
    """Raises ``ModelNotFound``."""
    found = models().filter(version=version).first()
    if found is None:
        raise ModelNotFound
    return found


def active_model() -> ModelVersion | None:
    """The model in service, where there is one."""
    return models().filter(state=ModelVersion.State.ACTIVE).first()
