"""The enrollment gate: which recordings count, which are held for a second person, and which are refused."""

from enrollment.errors import (
    AnotherVoice,
    Clipped,
    MoreThanOneSpeaker,
    NotEnoughSpeech,
    RecordingTooLong,
    Replayed,
    TooNoisy,
)
from enrollment.messages import Duplicate, VoiceReport
from mltraining.messages import QualityReport
from voiceauth.policies.document import EnrollmentLimits
from voiceauth.screening.risk import DUPLICATE_VOICE, KNOWN_FRAUDSTER, REPLAY, Hit

APPROVAL = "APPROVAL"  # the origin needs a second person, by policy
COHESION = "COHESION"  # a confirmed call that may be the customer's voice, but is not sure enough: a reviewer listens
REVIEW = "REVIEW"  # a suspicion: its review case says which, so that a teller cannot warn the person (tipping off)


def check(quality: QualityReport, voice: VoiceReport, limits: EnrollmentLimits) -> list[str]:
    """Return why the recording is held for a second person; an empty list where it counts at once.

    Raises the first ``SampleRefused`` that applies. The quality of the recording comes first: without speech the
    signal-to-noise ratio means nothing, and in noise voices cannot be told apart.
    """
    _check_quality(quality, limits)
    if any(hit.reason == REPLAY for hit in voice.hits):
        raise Replayed(hits=[hit.evidence() for hit in voice.hits])
    if voice.one_voice_llr is not None and voice.one_voice_llr < limits.min_one_voice_llr:
        raise MoreThanOneSpeaker(llr=voice.one_voice_llr, limit=limits.min_one_voice_llr)
    if voice.cohesion_llr is not None and voice.cohesion_llr < limits.min_cohesion_llr:
        raise AnotherVoice(llr=voice.cohesion_llr, limit=limits.min_cohesion_llr)
    reasons = [APPROVAL] if limits.needs_approval else []
    if _duplicates(voice, limits) or any(hit.reason == KNOWN_FRAUDSTER for hit in voice.hits):
        reasons.append(REVIEW)
    return reasons


def check_call(quality: QualityReport, voice: VoiceReport, limits: EnrollmentLimits, min_llr: float) -> list[str]:
    """Judge a call that another factor confirmed as ``check`` judges a recording, and its cohesion more strictly.

    Under ``min_llr``, a natural-log likelihood ratio, it is held. Raises ``AnotherVoice`` where nothing enrolled can be
    compared with it as well: no call joins a voiceprint unheard.
    """
    reasons = check(quality, voice, limits)
    if voice.cohesion_llr is None:
        raise AnotherVoice(llr=None, limit=min_llr)
    return [*reasons, COHESION] if voice.cohesion_llr < min_llr else reasons


def _check_quality(report: QualityReport, limits: EnrollmentLimits) -> None:
    if report.duration_seconds > limits.max_duration_seconds:
        raise RecordingTooLong(report=report.as_dict(), limit=limits.max_duration_seconds)
    if report.speech_seconds < limits.min_sample_speech_seconds:
        raise NotEnoughSpeech(report=report.as_dict(), limit=limits.min_sample_speech_seconds)
    if report.snr_db < limits.min_snr_db:
        raise TooNoisy(report=report.as_dict(), limit=limits.min_snr_db)
    if report.clipping_ratio > limits.max_clipping_ratio:
        raise Clipped(report=report.as_dict(), limit=limits.max_clipping_ratio)


def suspicions(voice: VoiceReport, limits: EnrollmentLimits) -> list[Hit]:
    """Return what a review case is opened for: known fraudsters, replays, and duplicate voices."""
    return [
        *voice.hits,
        *(
            Hit(
                reason=DUPLICATE_VOICE,
                score=each.probability,
                log_likelihood_ratio=each.log_likelihood_ratio,
                customer_id=each.customer_id,
            )
            for each in _duplicates(voice, limits)
        ),
    ]


def _duplicates(voice: VoiceReport, limits: EnrollmentLimits) -> list[Duplicate]:
    return [each for each in voice.duplicates if each.log_likelihood_ratio >= limits.duplicate_voice_llr]
