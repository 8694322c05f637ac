"""The enrollment gate: which recordings become part of a voiceprint, which wait for a person, which are refused."""

from dataclasses import asdict, dataclass
from typing import Any

from enrollment.errors import (
    AnotherVoice,
    Clipped,
    MoreThanOneSpeaker,
    NotEnoughSpeech,
    RecordingTooLong,
    Replayed,
    TooNoisy,
)
from voiceauth.policies.document import EnrollmentLimits

APPROVAL, DUPLICATE_VOICE, WATCHLIST = "APPROVAL", "DUPLICATE_VOICE", "KNOWN_FRAUDSTER"
REPLAY = "REPLAY"


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


@dataclass(frozen=True, kw_only=True)
class VoiceReport:
    """What the scoring worker heard under the model in service; natural-log likelihood ratios, None: not measurable."""

    separation: float | None = None  # of the two most different groups of parts of the recording, in cosines
    cohesion_llr: float | None = None  # to the customer's voiceprint so far
    duplicates: tuple[dict[str, Any], ...] = ()  # other customers' voiceprints, the likeliest first: customer_id, llr
    hits: tuple[dict[str, Any], ...] = ()  # of screening: reason, score, …


def check(quality: QualityReport, voice: VoiceReport, limits: EnrollmentLimits) -> list[str]:
    """Why the recording has to wait for a person; an empty list where it counts at once.

    Raises the first ``SampleRefused`` that applies. What is wrong with the recording comes first: without speech the
    signal-to-noise ratio means nothing, and in noise no voice can be told from another.
    """
    _check_quality(quality, limits)
    if any(hit["reason"] == REPLAY for hit in voice.hits):
        raise Replayed(hits=list(voice.hits))
    if voice.separation is not None and voice.separation > limits.max_separation:
        raise MoreThanOneSpeaker(separation=voice.separation, limit=limits.max_separation)
    if voice.cohesion_llr is not None and voice.cohesion_llr < limits.min_cohesion_llr:
        raise AnotherVoice(llr=voice.cohesion_llr, limit=limits.min_cohesion_llr)
    reasons = [APPROVAL] if limits.needs_approval else []
    if any(each["llr"] >= limits.duplicate_voice_llr for each in voice.duplicates):
        reasons.append(DUPLICATE_VOICE)
    if any(hit["reason"] == WATCHLIST for hit in voice.hits):
        reasons.append(WATCHLIST)
    return reasons


def _check_quality(report: QualityReport, limits: EnrollmentLimits) -> None:
    if report.duration_seconds > limits.max_duration_seconds:
        raise RecordingTooLong(report=report.as_dict(), limit=limits.max_duration_seconds)
    if report.speech_seconds < limits.min_sample_speech_seconds:
        raise NotEnoughSpeech(report=report.as_dict(), limit=limits.min_sample_speech_seconds)
    if report.snr_db < limits.min_snr_db:
        raise TooNoisy(report=report.as_dict(), limit=limits.min_snr_db)
    if report.clipping_ratio > limits.max_clipping_ratio:
        raise Clipped(report=report.as_dict(), limit=limits.max_clipping_ratio)


def suspicions(voice: VoiceReport, limits: EnrollmentLimits) -> list[dict[str, Any]]:
    """What a review case is opened for, as screening's hits: fraudsters, replays, and duplicate voices."""
    likely = [each for each in voice.duplicates if each["llr"] >= limits.duplicate_voice_llr]
    return [
        *voice.hits,
        *(
            {
                "reason": DUPLICATE_VOICE,
                "score": each["score"],
                "log_likelihood_ratio": each["llr"],
                "customer_id": each["customer_id"],
            }
            for each in likely
        ),
    ]
