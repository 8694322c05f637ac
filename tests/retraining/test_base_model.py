"""The model that ships: in service on a fresh install, a candidate where there is something already."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from django.conf import settings

from mltraining import registry, scorer
from mltraining.models import ModelVersion
from mltraining.speech.audio.decoding import decode
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import export_onnx
from tests.support.customers import enrolled
from tests.support.model import export_untrained, register_untrained
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining import base_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_recogniser")]

State = ModelVersion.State
RUNTIMES: tuple[Literal["int8", "torch"], ...] = ("int8", "torch")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A pipeline as the repository holds one: no exports, no charts, and small."""
    folder = export_untrained(tmp_path / "shipped", seed=7)
    monkeypatch.setattr(base_model, "BASE_MODEL", folder)
    return folder


def test_a_fresh_install_has_it_in_service_and_scores_under_onnx_runtime(shipped: Path) -> None:
    model = base_model.install_base_model()

    assert model is not None
    assert model.state == State.ACTIVE
    assert model.activated_at is not None
    active = scorer.active_model()
    assert active is not None
    assert active.version == model.version
    assert active.pipeline.own.network is None  # the export embeds, torch's network is not even built
    assert not (shipped / "encoder.onnx").exists()  # the repository's folder is left as it is
    assert AuditEvent.objects.filter(action="model.promoted", target=f"model:{model.version}").count() == 1
    assert base_model.install_base_model() is None  # once
    assert ModelVersion.objects.count() == 1


def test_the_export_that_ships_is_the_one_that_serves(shipped: Path) -> None:
    record = export_onnx.build(shipped, [], lambda under: 0.02)

    model = base_model.install_base_model()

    assert model is not None
    installed = json.loads((registry.folder_of(model.version) / "pipeline.json").read_text())
    assert installed["exports"] == record  # an export that is built anew has no trials to measure


@pytest.mark.parametrize("there", ["a model", "a voice"])
def test_beside_another_model_or_a_voice_it_is_a_candidate(shipped: Path, tmp_path: Path, there: str) -> None:
    export_onnx.build(shipped, [])  # here, which takes less than a process of its own
    if there == "a model":
        register_untrained(tmp_path, seed=1)
    else:
        enrolled(1)

    model = base_model.install_base_model()

    assert model is not None
    assert model.state == State.CANDIDATE


def test_the_repository_ships_one_that_loads() -> None:
    from mltraining.speech.config import load_config

    pipeline = ScoringPipeline.load(base_model.BASE_MODEL, runtime="torch")

    recipe = load_config(Path(registry.__file__).parent / "recipes" / "voice.yaml")
    heard = replace(pipeline.own.config.audio, training_chunk_seconds=recipe.audio.training_chunk_seconds)
    assert heard == recipe.audio  # scoring knows no training crops
    assert pipeline.own.config.architecture.backbone == "campplus"
    assert pipeline.cohort is None  # scores are cosines
    assert pipeline.decoys is not None
    assert pipeline.decoys.shape == (1609, 192)  # an unknown customer's call is compared with voices
    assert pipeline.class_rows is None
    assert (base_model.BASE_MODEL / "encoder.safetensors").stat().st_size <= 15_000_000
    assert any(pipeline.calibration.weights)


def test_a_fresh_install_serves_the_8_bits_that_ship() -> None:
    assert base_model.install_base_model() is not None

    active = scorer.active_model()

    assert active is not None
    assert active.pipeline.own.network is None
    folder = registry.folder_of(active.version)
    assert json.loads((folder / "pipeline.json").read_text())["exports"]["default"] == "int8"
    shipped = (base_model.BASE_MODEL / "encoder-int8.onnx").read_bytes()
    assert (folder / "encoder-int8.onnx").read_bytes() == shipped
    assert not (folder / "encoder.onnx").exists()


@pytest.mark.parametrize("name", ["enroll.ogg", "verify.ogg", "stranger.ogg"])
def test_8_bits_hear_what_float32_hears_in_a_call_and_in_its_windows(name: str) -> None:
    waveform = decode((settings.BASE_DIR / "docs" / "samples" / name).read_bytes())
    (whole, windows), (expected, parts) = (
        ScoringPipeline.load(base_model.BASE_MODEL, runtime=runtime).listen(waveform) for runtime in RUNTIMES
    )
    assert whole @ expected > 0.99
    assert windows is not None and parts is not None
    cosines = np.sum(windows.vectors * parts.vectors, axis=1)
    assert cosines.mean() > 0.98 and cosines.min() > 0.94
