"""What screening asks a scoring worker, and what the worker answers."""

from dataclasses import dataclass, field

from mltraining.messages import Call, Embedding, Recording
from voiceauth.screening.risk import Hit


@dataclass(frozen=True, kw_only=True)
class Screening:
    """What is suspicious about the voice of a call, and the voice itself where it may be remembered.

    There is no ``voice`` where the call has too little speech to compare.
    """

    hits: tuple[Hit, ...] = ()
    voice: Embedding | None = None
    speech_seconds: float = 0.0  # net, of the call


@dataclass(frozen=True, kw_only=True)
class AnalyseFraudster:
    """Analyse a recording whose voice is to go on a watchlist."""

    recording: Recording


@dataclass(frozen=True, kw_only=True)
class FraudsterAnalysis:
    """What the worker found out. Without a model in service there is no embedding, and nothing to compare."""

    speech_seconds: float
    hits: tuple[Hit, ...]  # known fraudsters who sound like it, the likeliest first
    embedding: Embedding | None
    remainder: bytes | None = field(repr=False)  # to be stored where something was cut out of the upload


ANALYSE_FRAUDSTER = Call("screening.analyse_fraudster", AnalyseFraudster, FraudsterAnalysis)
