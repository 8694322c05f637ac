"""Messages between web processes and scoring workers: frozen dataclasses, sent as MessagePack.

Both sides encode and decode here, so that a field exists in one place. Bytes stay bytes, and vectors travel as
little-endian float32. This module holds what several rooms say; each room has its own questions and answers in its
own ``messages.py``. Web processes import it, so it must not import ``mltraining.speech``.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from mltraining.vectors import packed, unpacked

CHANNEL = r"^(left|right|mono|[0-7])\Z"  # of a recording; ``mono`` mixes them

T = TypeVar("T")
Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Question, Answer]):
    """One kind of call to a scoring worker: the name of its task, and the types of its question and its answer."""

    task: str
    question: type[Question]
    answer: type[Answer]


def encode(message: object) -> bytes:
    """Encode a message. Raises ``NotImplementedError`` for a value of a type that messages do not have."""
    return msgspec.msgpack.encode(message, enc_hook=_to_wire)


def decode(content: bytes, kind: type[T]) -> T:
    """Decode a message of the type ``kind``. Raises ``msgspec.DecodeError`` where the content is of another type."""
    return msgspec.msgpack.decode(content, type=kind, dec_hook=_from_wire)


def _to_wire(value: object) -> object:
    if isinstance(value, np.ndarray):
        return packed(value)
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"a message cannot hold a {type(value).__name__}")


def _from_wire(kind: type, value: Any) -> Any:
    if kind is np.ndarray:
        return unpacked(value)
    raise NotImplementedError(f"a message cannot hold a {kind.__name__}")


@dataclass(frozen=True)
class Failure:
    """A ``DomainError`` of the worker, to be raised again in the web process."""

    code: str
    status: int
    message: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What a worker sends back: the encoded answer, the failure, or that the caller is to wait longer for these."""

    answer: bytes = b""
    failure: Failure | None = None
    more_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # seconds of each on the worker, and ``worker``: of all


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording as uploaded, and which part of it counts."""

    audio: bytes = field(repr=False)
    redact: tuple[tuple[float, float], ...] = ()  # (start, end) in seconds: neither stored nor scored
    channel: str = ""  # left, right, mono, or a number from 0; needed where the channels differ
    default_channel: str = ""  # that counts where the channels differ and none is named
    format: str = ""  # of samples without a header


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """The format and quality of a recording: seconds, decibels, a ratio in [0, 1], Hz."""

    duration_seconds: float
    speech_seconds: float  # net
    snr_db: float
    clipping_ratio: float  # share of the samples of speech
    container: str
    codec: str
    sample_rate: int
    channel: str = ""  # that was taken where the channels differ: left, right, mono, or a number from 0
    truncated: bool = False  # audio is known to be missing at the end

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A recording's embedding: a unit vector (d,) float32, and the model that made it."""

    model_version: str
    model_fingerprint: str
    vector: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """One voice and how a call compares with it. The ratio is in natural logarithm."""

    name: str  # of a customer, a fraudster, or whom a recent call claimed
    score: float  # cosine, normalized where the model has a cohort
    log_likelihood_ratio: float
    probability: float


@dataclass(frozen=True)
class Ping:
    """Ask whether a worker answers."""


@dataclass(frozen=True)
class Pong:
    """The versions of the models in the worker's memory."""

    models: tuple[str, ...]


@dataclass(frozen=True)
class DecodeRecording:
    """Decode a stored recording that a browser does not play."""

    recording: Recording


@dataclass(frozen=True)
class Decoded:
    """The recording as a WAV file: mono, 16 bits, at its own rate."""

    wav: bytes = field(repr=False)


DECODE = Call("mltraining.decode_recording", DecodeRecording, Decoded)
PING = Call("mltraining.ping", Ping, Pong)
