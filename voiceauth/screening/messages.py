"""What a scoring worker answers about the screening of a voice."""

from dataclasses import dataclass

from mltraining.messages import Embedding
from voiceauth.screening.risk import Hit


@dataclass(frozen=True, kw_only=True)
class Screening:
    """What is suspicious about the voice of a call, and the voice itself where it may be remembered.

    There is no ``voice`` where the call has too little speech to compare.
    """

    hits: tuple[Hit, ...] = ()
    voice: Embedding | None = None
    speech_seconds: float = 0.0  # net, of the call
