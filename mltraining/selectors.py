"""Reads of models."""

from django.db.models import QuerySet

from mltraining.errors import ModelNotFound
from mltraining.models import ModelVersion


def models() -> QuerySet[ModelVersion]:
    """Select all models with their calibrations, the newest first."""
    return ModelVersion.objects.prefetch_related("calibrations")


def model(version: str) -> ModelVersion:
    """Read one model. Raises ``ModelNotFound``."""
    found = models().filter(version=version).first()
    if found is None:
        raise ModelNotFound
    return found


def active_model() -> ModelVersion | None:
    """Return the model in service, where there is one."""
    return models().filter(state=ModelVersion.State.ACTIVE).first()
