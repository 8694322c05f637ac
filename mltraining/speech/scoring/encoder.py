"""From a recording to its embedding: the interface that a scoring pipeline needs, and our own network behind it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.config import Config
from mltraining.speech.features.chunks import WINDOW, WINDOW_HOP, shortest
from mltraining.speech.scoring import onnx_runtime
from mltraining.speech.scoring.averaging import Heard, Pooled, average, unit
from mltraining.speech.scoring.folder import DESCRIPTION, ENCODER, PipelineError, sha256

if TYPE_CHECKING:
    from mltraining.speech.features.log_mel import LogMel
    from mltraining.speech.network import SpeakerNetwork

# Settings that came after the first models, and the value that leaves their fingerprints as they were.
ADDED = {"speech_only": False, "stft_size": 0}

Runtime = Literal["torch"] | onnx_runtime.Export


@dataclass(frozen=True, eq=False)
class Windows:
    """Embeddings (n, d) of windows, each half a window after the one before, and how many seconds a window has.

    ``starts`` (n,): where each begins, in seconds of net speech; ``one_voice.placed_windows`` gives them in seconds of
    the recording.
    """

    vectors: np.ndarray
    starts: np.ndarray
    seconds: float


class Encoder(Protocol):
    """What makes embeddings. Safe to share between threads; the same audio gives the same embedding."""

    dimensions: int
    max_seconds: float  # of a recording that are embedded; the rest is not heard

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the encoder's rate."""

    def embed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, of ``samples`` (n,), the embedding of unit length and the mean pooled vector: (dimensions,) each."""

    def listen(self, samples: np.ndarray) -> tuple[np.ndarray, Windows | None]:
        """Return the embedding and, where they come of the same pass, the windows of ``samples`` (n,), net speech."""


class OwnEncoder:
    """A network that this library trained, as one of its exports or under torch.

    torch is imported only where it runs: a process that serves exports needs none.
    """

    network: "SpeakerNetwork | None" = None  # under torch
    features: "LogMel | None" = None

    def __init__(self, config: Config, pooled: Pooled, heard: Heard | None, dimensions: int) -> None:
        self.config = config
        self.pooled = pooled
        self.heard = heard
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
        chosen = _default_runtime(description, device) if runtime == "auto" else runtime
        if chosen != "torch":
            export = _load_export(folder, description, chosen, config)
            return cls(config, export.pooled, export.heard if export.hears_windows else None, description["dimensions"])
        from mltraining.speech.scoring import inference

        network, features = inference.load(folder, config, device)
        pooled, heard = inference.pooled_by(network, features, config), inference.heard_by(network, features, config)
        loaded = cls(config, pooled, heard, description["dimensions"])
        loaded.network, loaded.features = network, features
        return loaded

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the configured rate."""
        if self.config.audio.speech_only:
            waveform = quality.speech_only(waveform)
        return np.clip(resample(waveform.samples, waveform.sample_rate, self.config.audio.sample_rate), -1, 1)

    def embed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embedding and the mean pooled vector, see ``averaging.average``: (dimensions,) each."""
        embeddings, means = average(self.pooled, [samples], self.config)
        return embeddings[0], means[0]

    def listen(self, samples: np.ndarray) -> tuple[np.ndarray, Windows | None]:
        """Return the embedding, and its windows where the network hears them and pauses are cut out before."""
        hear = self.heard
        if hear is None or not self.config.audio.speech_only:
            return self.embed(samples)[0], None
        heard: list[np.ndarray] = []  # the windows of each chunk

        def pooled(chunks: Sequence[np.ndarray]) -> np.ndarray:
            wholes, windows = zip(*map(hear, chunks), strict=True)
            heard.extend(windows)
            return np.stack(wholes)

        embeddings, _ = average(pooled, [samples], self.config)
        return embeddings[0], windows_of(heard, self.config)


def windows_of(heard: Sequence[np.ndarray], config: Config) -> Windows:
    """Put the windows of consecutive chunks, (windows, dimensions) each, together."""
    frame = config.audio.hop_size / config.audio.sample_rate
    starts = [
        number * config.prediction.inference_chunk_seconds + WINDOW_HOP * frame * np.arange(len(windows))
        for number, windows in enumerate(heard)
    ]
    return Windows(unit(np.concatenate(heard)), np.concatenate(starts), WINDOW * frame)


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
    usable = device == "cpu" and exports.get("input") == onnx_runtime.INPUT  # else built by an earlier version
    return (exports.get("default") or "torch") if usable else "torch"


def _load_export(
    folder: Path, description: dict[str, Any], runtime: onnx_runtime.Export, config: Config
) -> onnx_runtime.Encoder:
    exports = description.get("exports") or {}
    record = exports.get(runtime)
    if record is None or exports.get("input") != onnx_runtime.INPUT:
        raise PipelineError(f"{folder.name}: has no {runtime} export that takes {onnx_runtime.INPUT}")
    file = folder / onnx_runtime.FILES[runtime]
    if sha256(file).hexdigest() != record["sha256"]:
        raise PipelineError(f"{folder.name}: {file.name} is not what {DESCRIPTION} describes")
    return onnx_runtime.Encoder(file, shortest(config.audio))
