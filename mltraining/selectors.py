"""Reads of models."""

from mltraining.models import ModelVersion


def active_model() -> ModelVersion | None:
    """Return the model in service, where there is one."""
    return ModelVersion.objects.prefetch_related("calibrations").filter(state=ModelVersion.State.ACTIVE).first()
