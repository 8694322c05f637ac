"""Installing the model that ships with the code."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from django.conf import settings

from enrollment.models import AudioSample
from mltraining import registry
from mltraining.models import ModelVersion
from voiceauth.retraining import evidence
from voiceauth.retraining.training_settings import BASE_WEIGHTS

BASE_MODEL = BASE_WEIGHTS.parent


def install_base_model() -> ModelVersion | None:
    """Register the model that ships, once. ``None`` where it is registered already.

    On a fresh install it goes into service at once. Where there are models or recordings, or where the policy asks for
    more evidence than it has, it becomes a candidate, to be promoted like any other.
    Its exports for ONNX Runtime are built in a process of their own, because torch is needed for them and the caller
    should not keep it in memory.
    """
    described = json.loads((BASE_MODEL / "pipeline.json").read_text(encoding="utf-8"))
    if ModelVersion.objects.filter(fingerprint=described["fingerprint"]).exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pipeline"
        shutil.copytree(BASE_MODEL, folder)
        subprocess.run(
            [sys.executable, "-m", "mltraining.speech", "export-onnx", str(folder)],
            cwd=settings.BASE_DIR,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        version = registry.install(pipeline=folder, charts=folder)
    model = registry.register(version=version)
    fresh = not ModelVersion.objects.exclude(version=version).exists() and not AudioSample.objects.exists()
    if not (fresh and evidence.of(model).is_sufficient):
        return model
    return registry.put_first_in_service(version)
