"""A recogniser small enough for a test: real code, few weights."""

from pathlib import Path

import numpy as np
import torch

from mltraining import registry
from mltraining.models import ModelVersion
from mltraining.speech.config import Config, load_config
from mltraining.speech.network import build_network
from mltraining.speech.scoring import pipeline
from mltraining.speech.scoring.calibration import Calibration
from tests.evidence import THRESHOLDS, calibrated_on
from voiceauth.retraining.training_settings import RECIPE

OVERRIDES = [
    "architecture.pretrained=false",
    "architecture.backbone=resnet10t",
    "audio.sample_rate=8000",
    "audio.stft_window_size=512",
    "audio.hop_size=256",
    "audio.mel_frequency_bins=24",
    "audio.maximum_frequency=3800",
    "audio.training_chunk_seconds=1",
    "prediction.inference_chunk_seconds=2",
    "training.batch_size=4",
    "training.loss_function=CosineBCE",
    "training.run_interpretations=false",
    "environment.number_of_workers=1",
    "logging.number_of_audios=0",
]


def tiny_config() -> Config:
    return load_config(RECIPE, OVERRIDES)


def export_untrained(folder: Path, *, seed: int, cohort: np.ndarray | None = None) -> Path:
    """A scoring pipeline with weights by chance, as a training leaves it: with class rows, to be left behind."""
    torch.manual_seed(seed)
    config = tiny_config()
    net = build_network(config, 2, weights=False)
    pipeline.export(
        folder,
        network=net,
        config=config,
        classes=["one", "other"],
        class_rows=np.eye(2, net.dimensions, dtype=np.float32),
        calibration=Calibration.of(16.0, -8.0, 0.5, thresholds=THRESHOLDS),
        threshold=0.5,
        metrics={"roc_auc": 0.5},
        data_hash="d" * 64,
        cohort=cohort,
    )
    pipeline.amend(folder, calibrated_on=calibrated_on())
    return folder


def register_untrained(folder: Path, *, seed: int = 0) -> ModelVersion:
    """A CANDIDATE in the registry (needs ``VOICEAUTH_MODELS_DIR`` set to a folder of the test's)."""
    exported = export_untrained(folder / f"pipeline-{seed}", seed=seed)
    return registry.register(version=registry.install(pipeline=exported, charts=folder))
