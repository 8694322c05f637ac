"""A real scoring pipeline, small and untrained: the registry, the worker and the network are what is tested."""

from pathlib import Path

import numpy as np
import torch
from django.conf import settings

from mltraining import registry
from mltraining.models import ModelVersion
from mltraining.speech.audio.decoding import decode
from mltraining.speech.config import load_config
from mltraining.speech.network import build_network
from mltraining.speech.scoring import pipeline
from mltraining.speech.scoring.calibration import Calibration
from tests.evidence import THRESHOLDS, calibrated_on

OVERRIDES = [
    "architecture.backbone=resnet18",
    "architecture.pretrained=false",
    "audio.sample_rate=8000",
    "audio.minimum_frequency=50",
    "audio.maximum_frequency=4000",
    "audio.mel_frequency_bins=32",
    "audio.stft_window_size=512",
    "audio.hop_size=160",
    "prediction.inference_chunk_seconds=3",
]


def register_tiny_model(scratch: Path, *, seed: int = 0, apart: tuple[bytes, bytes] | None = None) -> ModelVersion:
    """Exports and registers an untrained resnet18. Its calibration puts the threshold half-way between the
    cosine of the two recordings ``apart`` and 1: an untrained network still tells a recording from another.
    """
    config = load_config(Path(settings.BASE_DIR) / "mltraining" / "recipes" / "speaker_recognition.yaml", OVERRIDES)
    torch.manual_seed(seed)
    network = build_network(config, classes=0)

    def export(calibration: Calibration) -> Path:
        folder = scratch / "pipeline"
        pipeline.export(
            folder,
            network=network,
            config=config,
            classes=[],
            class_rows=None,
            calibration=calibration,
            threshold=0.5,
            metrics={},
            data_hash="d" * 64,
        )
        pipeline.amend(folder, calibrated_on=calibrated_on())
        return folder

    folder = export(Calibration.of(slope=1.0, offset=0.0, prior=0.5, thresholds=THRESHOLDS))
    if apart is not None:
        tiny = pipeline.ScoringPipeline.load(folder)
        first, second = (tiny.embed(decode(recording)) for recording in apart)
        distance = 1 - float(np.dot(first, second))
        slope = 20 / distance
        folder = export(
            Calibration.of(slope=slope, offset=-slope * (1 - distance / 2), prior=0.5, thresholds=THRESHOLDS)
        )
    version = registry.install(pipeline=folder, charts=scratch / "charts")
    return registry.register(version=version)


def put_into_service(model: ModelVersion) -> None:
    """What a promotion does last, where there is nobody yet whose voiceprint it must make anew."""
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.ACTIVE)
