"""Installing the model that ships with the code."""

import json

from enrollment.models import AudioSample
from mltraining import exporting, registry
from mltraining.models import ModelVersion
from voiceauth.retraining import evidence
from voiceauth.retraining.training_settings import MLTRAINING

BASE_MODEL = MLTRAINING / "base_model"


def install_base_model() -> ModelVersion | None:
    """Register the model that ships, once. ``None`` where it is registered already.

    On a fresh install it goes into service at once. Where there are models or recordings, or where the policy asks for
    more evidence than it has, it becomes a candidate, to be promoted like any other.
    """
    described = json.loads((BASE_MODEL / "pipeline.json").read_text(encoding="utf-8"))
    if ModelVersion.objects.filter(fingerprint=described["fingerprint"]).exists():
        return None
    with exporting.with_export(BASE_MODEL) as folder:
        version = registry.install(pipeline=folder, charts=folder)
    model = registry.register(version=version)
    fresh = not ModelVersion.objects.exclude(version=version).exists() and not AudioSample.objects.exists()
    if not (fresh and evidence.of(model).is_sufficient):
        return model
    return registry.put_first_in_service(version)
