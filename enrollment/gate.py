"""The enrollment gate: which recordings are good enough to become part of a voiceprint."""

from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from enrollment.errors import Clipped, NotEnoughSpeech, TooNoisy


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """What the scoring worker measured: seconds, decibels, a ratio in [0, 1], Hz."""

    duration_seconds: float
    speech_seconds: float
    snr_db: float
    clipping_ratio: float
    container: str
    codec: str
    sample_rate: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(report: QualityReport) -> None:
    """Raises ``NotEnoughSpeech``, ``TooNoisy`` or ``Clipped``, the first that applies, with the report.

    Speech comes first: without any, the signal-to-noise ratio means nothing.
    """
    limit = settings.VOICEAUTH_MIN_SAMPLE_SPEECH_SECONDS
    if report.speech_seconds < limit:
        raise NotEnoughSpeech(report=report.as_dict(), limit=limit)
    limit = settings.VOICEAUTH_MIN_SNR_DB
    if report.snr_db < limit:
        raise TooNoisy(report=report.as_dict(), limit=limit)
    limit = settings.VOICEAUTH_MAX_CLIPPING_RATIO
    if report.clipping_ratio > limit:
        raise Clipped(report=report.as_dict(), limit=limit)
