"""The tiny model: the real network with few weights, untrained, through the real export and registry."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.utils import timezone
from pytest_django import Settings

from mltraining import exporting, registry, scorer
from mltraining.calibrations import MeasuredOn
from mltraining.models import ModelVersion
from mltraining.speech.audio.decoding import decode
from mltraining.speech.config import Config, load_config
from mltraining.speech.network import build_network
from mltraining.speech.scoring import pipeline
from mltraining.speech.scoring.calibration import Calibration
from tests.support import evidence
from tests.support.evidence import THRESHOLDS
from voiceauth.launcher.embedded import locked
from voiceauth.policies.models import PolicyVersion
from voiceauth.retraining import base_model
from voiceauth.retraining.training_settings import RECIPE

Section = dict[str, Any]

# What makes the network, and a training of it, a matter of seconds.
TINY: dict[str, Section] = {
    "architecture": {"backbone": "test_resnet", "pretrained": False},
    "audio": {
        "sample_rate": 8000,
        "stft_window_size": 512,
        "hop_size": 160,
        "mel_frequency_bins": 32,
        "maximum_frequency": 4000,
        "training_chunk_seconds": 0.8,
    },
    "environment": {"seed": 5, "gpus": [], "number_of_workers": 1, "mixed_precision_training": False},
    "logging": {"number_of_audios": 1},
    "training": {
        "loss_function": "CosineBCE",
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 0.003,
        "run_interpretations": False,
        "build_onnx": False,
    },
}
# The same for a training that the service starts on customers with few recordings.
OVERRIDES = [
    *(f"{name}.{key}={value}" for name, section in TINY.items() for key, value in section.items()),
    "training.batch_size=4",
]
CALIBRATION = Calibration.of(16.0, -8.0, 0.5, thresholds=THRESHOLDS)


def small_config(folder: Path, **sections: Section) -> Config:
    """The tiny model's configuration for the clips in ``folder``, with other values for some settings."""
    values: dict[str, Section] = {"dataset": {"data_folder": str(folder)}} | TINY
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return Config.from_dict(values)


def export_untrained(
    folder: Path, *, seed: int = 0, cohort: np.ndarray | None = None, calibration: Calibration = CALIBRATION
) -> Path:
    """A scoring pipeline with weights by chance, as a training leaves it: with class rows, to be left behind."""
    torch.manual_seed(seed)
    config = load_config(RECIPE, OVERRIDES)
    net = build_network(config, 2, weights=False)
    pipeline.export(
        folder,
        network=net,
        config=config,
        classes=["one", "other"],
        class_rows=np.eye(2, net.dimensions, dtype=np.float32),
        calibration=calibration,
        threshold=0.5,
        metrics={"roc_auc": 0.5},
        data_hash="d" * 64,
        cohort=cohort,
    )
    pipeline.amend(folder, calibrated_on=evidence.calibrated_on())
    return folder


def register_untrained(folder: Path, *, seed: int = 0, apart: tuple[bytes, bytes] | None = None) -> ModelVersion:
    """A CANDIDATE in the registry (needs ``VOICEAUTH_MODELS_DIR`` set to a folder of the test's).

    An untrained network still tells a recording from another: ``apart`` puts the threshold half-way between the
    cosine of these two recordings and 1.
    """
    exported = export_untrained(folder / f"pipeline-{seed}", seed=seed)
    if apart is not None:
        tiny = pipeline.ScoringPipeline.load(exported)
        first, second = (tiny.embed(decode(recording)) for recording in apart)
        distance = 1 - float(np.dot(first, second))
        slope = 20 / distance
        calibration = Calibration.of(slope, -slope * (1 - distance / 2), 0.5, thresholds=THRESHOLDS)
        export_untrained(exported, seed=seed, calibration=calibration)
    return registry.register(version=registry.install(pipeline=exported, charts=folder))


def put_into_service(model: ModelVersion) -> None:
    """What a promotion does last, where there is nobody yet whose voiceprint it must make anew."""
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.ACTIVE)


def leave_voices_together() -> None:
    """Have the policy ask of no recording that one voice speaks: an untrained network takes its parts for strangers."""
    least = {"min_one_voice_llr": -1e9}
    PolicyVersion.objects.create(
        number=1, content={"enrollment": {"default": least}, "verification": least}, reason="an untrained network"
    )


def make_model(
    version: str = "20261124-203015-3fa9c1",
    state: str = ModelVersion.State.CANDIDATE,
    *,
    measured_on: MeasuredOn | None = evidence.ENOUGH,
    **fields: Any,
) -> ModelVersion:
    """A row of the registry that has no files, calibrated on enough trials unless told otherwise."""
    given = {
        "fingerprint": version[-6:] + "0" * 58,
        "calibration_version": "c1",
        "metrics": {
            "roc_auc": 0.9997,
            "eer": 0.0061,
            "rank_one": 0.984,
            "false_accept_rate": 0.0003,
            "target_trials": 615,
            "impostor_trials": 30135,
            "head": {"roc_auc": 0.9991},
        },
        "config": {"training": {"epochs": 15}},
        "data_hash": "d" * 64,
    } | fields
    if state in (ModelVersion.State.ACTIVE, ModelVersion.State.RETIRED):
        given.setdefault("activated_at", timezone.now() - timedelta(days=3))
    model = ModelVersion.objects.create(version=version, state=state, **given)
    if measured_on is not None:
        evidence.calibrate(model, measured_on)
    return model


def activate_model(name: str = "first") -> ModelVersion:
    """Such a row in service; the one before is retired."""
    ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).update(state=ModelVersion.State.RETIRED)
    return make_model(name, ModelVersion.State.ACTIVE, fingerprint=hashlib.sha256(name.encode()).hexdigest())


@pytest.fixture
def models_folder(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """A registry of the test's own, of which no model is in memory before or after."""
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    scorer._models.clear()
    yield settings.VOICEAUTH_MODELS_DIR
    scorer._models.clear()


@pytest.fixture(scope="session")
def shipped_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that ships, with its export, which takes seconds: made once for all processes of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with locked(shared / "shipped-export.lock"):
        if not (shared / "shipped-export").exists():
            with exporting.with_export(base_model.BASE_MODEL) as folder:
                shutil.copytree(folder, shared / "shipped-export")
    return shared / "shipped-export"


@pytest.fixture
def shipped_model(db: None, shipped_export: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that ships, in service."""
    monkeypatch.setattr(base_model, "BASE_MODEL", shipped_export)
    base_model.install_base_model()


@pytest.fixture
def small_recogniser(models_folder: Path, tmp_path: Path, settings: Settings) -> Path:
    """Folders of the test's own, and a training that takes seconds."""
    settings.VOICEAUTH_RUNS_DIR = tmp_path / "runs"
    settings.VOICEAUTH_TRAINING_OVERRIDES = OVERRIDES
    return tmp_path


def run_folder(root: Path, run_id: uuid.UUID) -> Path:
    return root / "runs" / str(run_id)
