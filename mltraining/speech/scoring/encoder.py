"""From a recording to its embedding: the interface that a scoring pipeline needs, and our own network behind it."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors.torch import load_file

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.scoring import inference, onnx_runtime
from mltraining.speech.scoring.folder import DESCRIPTION, ENCODER, PipelineError, sha256

# Settings that came after the first models, and the value that leaves their fingerprints as they were.
ADDED = {"speech_only": False, "stft_size": 0}

Runtime = Literal["torch"] | onnx_runtime.Export


class Encoder(Protocol):
    """What makes embeddings. Safe to share between threads; the same audio gives the same embedding."""

    dimensions: int
    max_seconds: float  # of a recording that are embedded; the rest is not heard

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the encoder's rate."""

    def embed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, of ``samples`` (n,), the embedding of unit length and the mean pooled vector: (dimensions,) each."""


class OwnEncoder:
    """A network that this library trained, under torch or as one of its exports."""

    def __init__(
        self, *, config: Config, network: SpeakerNetwork | None, pooled: inference.Pooled, dimensions: int, device: str
    ) -> None:
        self.config = config
        self.network = network  # None under ONNX Runtime
        self.pooled = pooled
        self.features = LogMel(config.audio).to(device)
        self.dimensions = dimensions
        self.max_seconds = config.prediction.max_inference_chunk_seconds

    @classmethod
    def load(
        cls, folder: Path, description: dict[str, Any], device: str, runtime: Literal["auto"] | Runtime
    ) -> "OwnEncoder":
        """Load it from a pipeline's folder, as ``ScoringPipeline.load`` does.

        Raises PipelineError for a fingerprint that does not belong to the files, and for an export that is missing or
        changed; what torch and safetensors raise for damaged weights; ConfigError.
        """
        config = Config.from_dict(description["config"])
        if fingerprint_of(folder / ENCODER, config) != description["fingerprint"]:
            raise PipelineError(f"{folder.name}: the fingerprint does not belong to the weights and the configuration")
        network = None
        chosen = _default_runtime(description, device) if runtime == "auto" else runtime
        if chosen == "torch":
            network = build_network(config, 0, weights=False)
            network.load_state_dict(load_file(folder / ENCODER))
            network = network.to(device).eval().requires_grad_(False)
            pooled = inference.pooled_by(network, config)
        else:
            pooled, device = _load_export(folder, description, chosen).pooled, "cpu"
        return cls(config=config, network=network, pooled=pooled, dimensions=description["dimensions"], device=device)

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the configured rate."""
        if self.config.audio.speech_only:
            waveform = quality.speech_only(waveform)
        return np.clip(resample(waveform.samples, waveform.sample_rate, self.config.audio.sample_rate), -1, 1)

    def embed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embedding and the mean pooled vector, see ``inference.average``: (dimensions,) each."""
        embeddings, means = inference.average(self.pooled, self.features, [samples], self.config)
        return embeddings[0], means[0]


def fingerprint_of(encoder: Path, config: Config) -> str:
    """Return the SHA-256, in hexadecimal, of the encoder's file and the settings that shape an embedding."""
    architecture, audio, prediction = (config.to_dict()[name] for name in ("architecture", "audio", "prediction"))
    unused = [name for name, off in ADDED.items() if audio[name] == off]
    shaping = {
        "architecture": {name: architecture[name] for name in ("backbone", "pool", "embedding_dimensions")},
        "audio": {name: value for name, value in audio.items() if name not in ("training_chunk_seconds", *unused)},
        "prediction": {name: value for name, value in prediction.items() if "chunk" in name},
        "mixed_precision": config.environment.mixed_precision_inference,
    }
    digest = sha256(encoder)
    digest.update(json.dumps(shaping, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


def _default_runtime(description: dict[str, Any], device: str) -> Runtime:
    exports = description.get("exports") or {}
    return (exports.get("default") or "torch") if device == "cpu" else "torch"


def _load_export(folder: Path, description: dict[str, Any], runtime: onnx_runtime.Export) -> onnx_runtime.Encoder:
    record = (description.get("exports") or {}).get(runtime)
    if record is None:
        raise PipelineError(f"{folder.name}: has no {runtime} export")
    content = (folder / onnx_runtime.FILES[runtime]).read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise PipelineError(f"{folder.name}: {onnx_runtime.FILES[runtime]} is not what {DESCRIPTION} describes")
    return onnx_runtime.Encoder(content, threads=torch.get_num_threads())
