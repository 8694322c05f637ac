"""An encoder from elsewhere in a scoring pipeline: an ONNX file, and the description of the front end before it.

    encoder.onnx        the encoder, as it was imported
    pipeline.json       as of any pipeline; ``config`` is the description, ``imported`` says what it is and whose
    centre.safetensors  optional: the mean embedding of speech (dimensions,), which is subtracted from every embedding

The fingerprint covers the ONNX file, the whole description and the centre.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
import yaml
from safetensors.numpy import load_file

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.features.front_ends import (
    Features,
    FrontEnd,
    Normalisation,
    Samples,
    Signal,
    features_of,
    kind_of,
)
from mltraining.speech.scoring import onnx_runtime
from mltraining.speech.scoring.averaging import unit
from mltraining.speech.scoring.encoder import Windows
from mltraining.speech.scoring.folder import PipelineError
from mltraining.speech.settings_reader import ConfigError, at_least, build, checked, plain, positive

Axis = Literal["batch", "channel", "frames", "bands"]

MODEL, CENTRE = onnx_runtime.FILES["fp32"], "centre.safetensors"
BATCH = 32  # chunks that go through the encoder together
AXES: tuple[Axis, ...] = ("batch", "frames", "bands")
TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "int32": np.int32}


class EncoderRefused(ValueError):
    """The encoder cannot be imported. ``code`` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Chunks:
    """The pieces that a clip's frames are embedded in; its embedding is the mean of their unit-length embeddings."""

    frames: int = checked(0, at_least(0))  # in a chunk; 0: the whole clip is one
    hop: int = checked(0, at_least(0))  # frames from the start of one chunk to that of the next
    min_frames: int = checked(1, at_least(1))  # a shorter clip is repeated until it has so many


@dataclass(frozen=True)
class Tensors:
    """How the encoder's tensors are called, and the order of the input's axes."""

    input: str = "features"
    output: str = "embedding"
    axes: tuple[Axis, ...] = AXES
    lengths: str | None = None  # an input that is told the number of frames


@dataclass(frozen=True)
class Description:
    """What stands between a recording and an imported encoder. docs/importing-encoders.md explains every key."""

    sample_rate: int = checked(16_000, at_least(4_000))
    speech_only: bool = False  # whether pauses are cut out first
    max_seconds: float = checked(60.0, positive)
    signal: Signal = field(default_factory=Signal)
    features: Features = field(default_factory=Samples)
    normalisation: Normalisation = "none"
    chunks: Chunks = field(default_factory=Chunks)
    tensors: Tensors = field(default_factory=Tensors)

    @classmethod
    def from_dict(cls, values: Any) -> "Description":
        """Read what ``to_dict`` gave, or what a file holds. Raises ConfigError, which names the key."""
        if not isinstance(values, Mapping):
            raise ConfigError("the description must be a mapping of keys")
        features = features_of(values.get("features"))
        others = build(cls, {name: value for name, value in values.items() if name != "features"})
        found = dataclasses.replace(others, features=features)
        _check_together(found)
        return found

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Read a YAML or JSON file. Raises ConfigError, also where it cannot be read."""
        try:
            return cls.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not YAML: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return every key, those with their default too, as JSON and YAML have them."""
        values = plain(dataclasses.asdict(self))
        return values | {"features": {"kind": kind_of(self.features)} | values["features"]}

    def front_end(self) -> FrontEnd:
        """Build the front end. Raises ConfigError for features that cannot be computed."""
        return FrontEnd(
            self.features,
            sample_rate=self.sample_rate,
            signal=self.signal,
            normalisation=self.normalisation,
            min_frames=max(self.chunks.frames, self.chunks.min_frames),
        )


def _check_together(description: Description) -> None:
    chunks, axes = description.chunks, description.tensors.axes
    if chunks.frames and not 0 < chunks.hop <= chunks.frames:
        raise ConfigError("chunks.hop: must be from 1 to chunks.frames")
    needed = {"batch", "frames"} if isinstance(description.features, Samples) else set(AXES)
    if len(set(axes)) < len(axes) or set(axes) - {"channel"} != needed:
        raise ConfigError(f"tensors.axes: must name {', '.join(sorted(needed))} once each, and channel at most once")


class ImportedEncoder:
    """An imported encoder under ONNX Runtime; the interface is ``encoder.Encoder``."""

    def __init__(self, content: bytes, description: Description, centre: np.ndarray | None, threads: int = 1) -> None:
        """``content``: the ONNX file's bytes; ``centre`` (dimensions,).

        Raises ValueError where ONNX Runtime cannot read them, EncoderRefused ``unknown_tensor`` and ``wrong_shape``
        where the file's tensors are not those of the description, and ConfigError.
        """
        self.description = description
        self.centre = centre
        self.max_seconds = description.max_seconds
        self.front_end = description.front_end()
        self._session = onnx_runtime.session(content, threads)
        self._inputs = _matched(self._session, description)
        self.dimensions = self.vectors(self.units(np.zeros(description.sample_rate, dtype=np.float32))[:1]).shape[1]
        if centre is not None and centre.shape != (self.dimensions,):
            raise EncoderRefused("wrong_shape", f"the centre has {len(centre)} numbers, an embedding {self.dimensions}")

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> "ImportedEncoder":
        """Load it from a pipeline's folder, as ``ScoringPipeline.load`` does.

        Raises PipelineError for a fingerprint that does not belong to the files, and what ``__init__`` raises.
        """
        content = (folder / MODEL).read_bytes()
        description = Description.from_dict(described["config"])
        centre = load_file(folder / CENTRE)["centre"] if described["imported"]["centred"] else None
        if fingerprint_of(content, description, centre) != described["fingerprint"]:
            raise PipelineError(f"{folder.name}: the fingerprint does not belong to the encoder and its description")
        return cls(content, description, centre, threads=onnx_runtime.threads())

    def samples(self, waveform: Waveform) -> np.ndarray:
        """Return what is embedded of a recording: (n,) float32 in [-1, 1] at the description's rate."""
        if self.description.speech_only:
            waveform = quality.speech_only(waveform)
        rate = self.description.sample_rate
        samples = np.clip(resample(waveform.samples, waveform.sample_rate, rate), -1, 1)
        return samples[: round(self.max_seconds * rate)]

    def embed(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embedding, centred and of unit length, and the mean of the chunks' vectors: (dimensions,) each.

        Raises PipelineError where the encoder answers with what is no number.
        """
        vectors = self.vectors(self.units(samples))
        if not np.isfinite(vectors).all():
            raise PipelineError("the encoder's embedding holds what is no number")
        embedding = unit(unit(vectors).mean(axis=0))
        if self.centre is not None:
            embedding = unit(embedding - self.centre)
        return embedding, vectors.mean(axis=0)

    def listen(self, samples: np.ndarray) -> tuple[np.ndarray, Windows | None]:
        """Return the embedding. The windows have to be embedded alone."""
        return self.embed(samples)[0], None

    def units(self, samples: np.ndarray) -> np.ndarray:
        """Cut the frames of (n,) samples into chunks: (chunks, frames, bands) float32."""
        frames = self.front_end(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
        size, hop = self.description.chunks.frames, self.description.chunks.hop
        if not size:
            return frames[None]
        starts = list(range(0, len(frames) - size + 1, hop))
        if 2 * (len(frames) - size - starts[-1]) > hop:  # what is left would be more than half a hop
            starts.append(len(frames) - size)
        return np.stack([frames[start : start + size] for start in starts])

    def vectors(self, units: np.ndarray, together: int = BATCH) -> np.ndarray:
        """Run the encoder: (chunks, frames, bands) -> (chunks, dimensions) float32, as it gives them.

        ``together`` chunks go through it at once. Raises EncoderRefused ``wrong_shape`` where it does not take or give
        what the description says.
        """
        tensors = self.description.tensors
        size = together if self._inputs.any_batch else 1
        found = []
        for first in range(0, len(units), size):
            batch = units[first : first + size]
            feed: dict[str, np.ndarray] = {tensors.input: _arranged(batch, tensors.axes).astype(self._inputs.kind)}
            if tensors.lengths:
                feed[tensors.lengths] = np.full(len(batch), batch.shape[1]).astype(self._inputs.lengths_type)
            try:
                answer = np.asarray(self._session.run([tensors.output], feed)[0], dtype=np.float32)
            except Exception as error:  # ONNX Runtime's errors have no base of their own
                shape = "x".join(map(str, feed[tensors.input].shape))
                raise EncoderRefused(
                    "wrong_shape", f"the encoder cannot run on an input of {shape}: {error}"
                ) from error
            if answer.ndim < 2 or len(answer) != len(batch) or sum(each > 1 for each in answer.shape[1:]) != 1:
                shape = "x".join(map(str, answer.shape))
                raise EncoderRefused(
                    "wrong_shape", f"{tensors.output} is {shape} for {len(batch)} clips, not one vector each"
                )
            found.append(answer.reshape(len(batch), -1))
        return np.concatenate(found)


def fingerprint_of(content: bytes, description: Description, centre: np.ndarray | None) -> str:
    """Return the SHA-256, in hexadecimal, of everything that shapes an embedding."""
    digest = hashlib.sha256(content)
    digest.update(json.dumps(description.to_dict(), sort_keys=True, separators=(",", ":")).encode())
    if centre is not None:
        digest.update(np.ascontiguousarray(centre, dtype="<f4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Inputs:
    """What the file says of its inputs: their types, and whether it takes any number of clips at once."""

    kind: type
    lengths_type: type
    any_batch: bool


def _matched(session: onnxruntime.InferenceSession, description: Description) -> _Inputs:
    """Compare the file's tensors with the description. Raises EncoderRefused."""
    tensors = description.tensors
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    wanted = {tensors.input, *([tensors.lengths] if tensors.lengths else [])}
    if set(inputs) != wanted:
        raise EncoderRefused(
            "unknown_tensor", f"the file's inputs are {', '.join(inputs)}; the description has {', '.join(wanted)}"
        )
    if tensors.output not in outputs:
        raise EncoderRefused(
            "unknown_tensor", f"the file's outputs are {', '.join(outputs)}; the description has {tensors.output}"
        )
    declared = inputs[tensors.input].shape
    if len(declared) != len(tensors.axes):
        raise EncoderRefused(
            "wrong_shape", f"{tensors.input} has {len(declared)} axes; tensors.axes names {len(tensors.axes)}"
        )
    fixed = {name: size for name, size in zip(tensors.axes, declared, strict=True) if isinstance(size, int)}
    allowed = {"batch": 1, "channel": 1, "bands": description.features.width, "frames": description.chunks.frames}
    for name, size in fixed.items():
        if size != allowed[name]:
            raise EncoderRefused(
                "wrong_shape", f"{tensors.input} takes {size} {name} alone; the description gives {allowed[name]}"
            )
    return _Inputs(
        kind=_type(inputs[tensors.input]),
        lengths_type=_type(inputs[tensors.lengths]) if tensors.lengths else np.int64,
        any_batch="batch" not in fixed,
    )


def _type(tensor: Any) -> type:
    name = tensor.type.removeprefix("tensor(").removesuffix(")")
    if name not in TYPES:
        raise EncoderRefused("wrong_shape", f"{tensor.name} is of type {name}; known are {', '.join(TYPES)}")
    return TYPES[name]


def _arranged(units: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
    """(batch, frames, bands) in the order of ``axes``; without bands, a frame is one number."""
    units = units if "bands" in axes else units[:, :, 0]
    moved = units.transpose([AXES.index(name) for name in axes if name != "channel"])
    return np.expand_dims(moved, axes.index("channel")) if "channel" in axes else moved
