import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from mltraining import registry
from mltraining.errors import ModelUnchanged
from mltraining.models import ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent

State = ModelVersion.State
ADMIN = Actor(name="ops", role="admin")


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, settings: Settings) -> Path:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    return tmp_path / "models"


def trained(folder: Path, fingerprint: str = "ab" * 32, **more: Any) -> Path:
    """What a training leaves, as far as the registry looks at it."""
    (folder / "pipeline").mkdir(parents=True, exist_ok=True)
    (folder / "charts").mkdir(exist_ok=True)
    described = {
        "fingerprint": fingerprint,
        "threshold": 0.5,
        "calibration": {"version": "c1", "slope": 10.0, "offset": -5.0, "prior": 0.02},
        "metrics": {"roc_auc": 0.99, "min_dcf": float("nan")},
        "config": {"training": {"epochs": 2}},
        "data_hash": "d" * 64,
        **more,
    }
    (folder / "pipeline" / "pipeline.json").write_text(json.dumps(described))
    for name in ("encoder.safetensors", "head.safetensors"):
        (folder / "pipeline" / name).write_bytes(b"weights")
    for name in ("losses.png", "roc.png", "confusion_matrix.png"):
        (folder / "charts" / name).write_bytes(b"png")
    return folder


def registered(folder: Path, fingerprint: str = "ab" * 32) -> ModelVersion:
    output = trained(folder, fingerprint)
    return registry.register(version=registry.install(pipeline=output / "pipeline", charts=output / "charts"))


def states() -> dict[str, str]:
    return dict(ModelVersion.objects.values_list("version", "state"))


def test_a_model_keeps_its_encoder_and_no_row_or_chart_that_names_a_customer(
    tmp_path: Path, models_folder: Path
) -> None:
    output = trained(tmp_path / "output")
    version = registry.install(pipeline=output / "pipeline", charts=output / "charts")
    kept = {str(path.relative_to(models_folder / version)) for path in (models_folder / version).rglob("*.*")}
    assert kept == {"encoder.safetensors", "pipeline.json", "charts/losses.png", "charts/roc.png"}
    assert [path.name for path in registry.charts_of(version)] == ["losses.png", "roc.png"]


def test_a_pipeline_that_names_a_customer_is_not_installed(tmp_path: Path, models_folder: Path) -> None:
    customer = str(uuid.uuid4())
    output = trained(tmp_path / "output", classes=[customer])
    with pytest.raises(ValueError, match="names a customer"):
        registry.install(pipeline=output / "pipeline", charts=output / "charts", private=[customer])
    assert not models_folder.exists()


@pytest.mark.django_db
def test_a_registered_model_is_a_candidate_with_its_figures(tmp_path: Path) -> None:
    model = registered(tmp_path / "output")
    model.refresh_from_db()
    assert model.state == State.CANDIDATE
    assert model.version.endswith("-ababab")
    assert model.metrics == {"roc_auc": 0.99, "min_dcf": None}
    assert AuditEvent.objects.get(action="model.registered").model_version == model.version


@pytest.mark.django_db
def test_the_same_weights_are_not_registered_twice(tmp_path: Path) -> None:
    registered(tmp_path / "output")
    with pytest.raises(ModelUnchanged):
        registered(tmp_path / "again")
