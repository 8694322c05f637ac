"""Reads of training runs."""

import uuid

from django.db.models import QuerySet

from voiceauth.retraining.errors import RunNotFound
from voiceauth.retraining.models import TrainingRun


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
