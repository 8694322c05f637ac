"""Services on calibrations: calibrate a registered model anew, without training it or embedding anybody again."""

from typing import Any

from django.db import transaction

from mltraining.errors import ModelNotFound
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record


def in_force(version: str) -> Calibration | None:
    """Return the calibration that replaces the one in the model's ``pipeline.json``, where there is one."""
    return Calibration.objects.filter(model=version, active=True).first()


@transaction.atomic
def put_into_force(
    *,
    version: str,
    parameters: dict[str, Any],
    threshold: float,
    target_far: float,
    target_trials: int,
    impostor_trials: int,
    source: str,
    actor: Actor,
) -> Calibration:
    """Make ``parameters`` (``speech.scoring.Calibration.to_dict``) what the model's scores are read by.

    Every scoring worker uses them from the next call on. ``threshold`` is on the probability. Raises
    ``ModelNotFound``.
    """
    model = ModelVersion.objects.select_for_update().filter(version=version).first()
    if model is None:
        raise ModelNotFound
    before = {"calibration_version": model.calibration_version, "threshold": model.threshold}
    model.calibrations.filter(active=True).update(active=False)
    calibration = Calibration.objects.create(
        model=model,
        version=parameters["version"],
        parameters=parameters,
        threshold=threshold,
        target_far=target_far,
        target_trials=target_trials,
        impostor_trials=impostor_trials,
        source=source[:500],
        created_by=actor.name,
    )
    model.calibration_version, model.threshold = calibration.version, threshold
    model.save(update_fields=["calibration_version", "threshold"])
    record(
        action="model.recalibrated",
        actor=actor,
        target=f"model:{version}",
        model_version=version,
        threshold=threshold,
        before=before,
        after={"calibration_version": calibration.version, "threshold": threshold},
        data={
            "parameters": parameters,
            "target_far": target_far,
            "target_trials": target_trials,
            "impostor_trials": impostor_trials,
            "source": source,
        },
    )
    return calibration
