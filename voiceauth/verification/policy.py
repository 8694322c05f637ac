"""The policy: from what is known of a call to its decision. Pure functions.

The first that applies decides::

    1  the claimed speaker's state     SPEAKER_NOT_ENROLLED (unknown, PENDING, ENROLLING), SPEAKER_OPTED_OUT,
                                       SPEAKER_EXPIRED, SPEAKER_LOCKED; the audio is not looked at
    2  net speech under the minimum    NOT_ENOUGH_SPEECH
    3  audio that misleads             INCONCLUSIVE with TOO_NOISY, CLIPPED or both
       nothing to compare with         INCONCLUSIVE with VOICEPRINT_STALE: none yet under the model in service
    4  probability >= threshold        ACCEPT (verify), MATCH (identify, the best candidate)
       otherwise                       REJECT (verify), NO_MATCH (identify)

Each row of an identification is a verification trial of its own, at the same threshold. With N candidates
and a false match rate FMR a stranger is matched with probability 1 - (1 - FMR)^N: claim and verify, or give
few candidates.
"""

from dataclasses import dataclass

from django.conf import settings

from enrollment.models import Customer
from voiceauth.verification.models import Decision

Outcome = Decision.Outcome
State = Customer.State

TOO_NOISY = "TOO_NOISY"
CLIPPED = "CLIPPED"
VOICEPRINT_STALE = "VOICEPRINT_STALE"

SPEAKER_OUTCOMES = {
    State.OPTED_OUT: Outcome.SPEAKER_OPTED_OUT,
    State.EXPIRED: Outcome.SPEAKER_EXPIRED,
    State.LOCKED: Outcome.SPEAKER_LOCKED,
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    minimum_speech_seconds: float
    minimum_snr_db: float
    maximum_clipping_ratio: float

    @classmethod
    def configured(cls) -> "Policy":
        """The policy that the settings give."""
        return cls(
            minimum_speech_seconds=settings.VOICEAUTH_MIN_VERIFICATION_SPEECH_SECONDS,
            minimum_snr_db=settings.VOICEAUTH_MIN_SNR_DB,
            maximum_clipping_ratio=settings.VOICEAUTH_MAX_CLIPPING_RATIO,
        )


@dataclass(frozen=True, kw_only=True)
class CallQuality:
    speech_seconds: float
    snr_db: float
    clipping_ratio: float  # share of samples at full scale, 0 to 1


@dataclass(frozen=True)
class Verdict:
    outcome: Decision.Outcome
    reasons: tuple[str, ...] = ()

    @property
    def is_scored(self) -> bool:
        """Whether the decision rests on a score, so that the score may be told."""
        return self.outcome in {Outcome.ACCEPT, Outcome.REJECT, Outcome.MATCH, Outcome.NO_MATCH}


def judge_speaker(state: str | None) -> Verdict | None:
    """Step 1: the verdict on the claimed speaker's state, ``None`` for unknown; no verdict where ENROLLED."""
    if state == State.ENROLLED:
        return None
    if state is None:
        return Verdict(Outcome.SPEAKER_NOT_ENROLLED)
    return Verdict(SPEAKER_OUTCOMES.get(State(state), Outcome.SPEAKER_NOT_ENROLLED))


def judge_audio(policy: Policy, quality: CallQuality) -> Verdict | None:
    """Steps 2 and 3: the verdict on the audio; none where it may be scored."""
    if quality.speech_seconds < policy.minimum_speech_seconds:
        return Verdict(Outcome.NOT_ENOUGH_SPEECH)
    reasons = []
    if quality.snr_db < policy.minimum_snr_db:
        reasons.append(TOO_NOISY)
    if quality.clipping_ratio > policy.maximum_clipping_ratio:
        reasons.append(CLIPPED)
    return Verdict(Outcome.INCONCLUSIVE, tuple(reasons)) if reasons else None


def decide_verification(policy: Policy, quality: CallQuality, probability: float | None, threshold: float) -> Verdict:
    """Steps 2 to 4 for an enrolled speaker; ``probability`` is ``None`` where there is no voiceprint."""
    if verdict := judge_audio(policy, quality):
        return verdict
    if probability is None:
        return Verdict(Outcome.INCONCLUSIVE, (VOICEPRINT_STALE,))
    return Verdict(Outcome.ACCEPT if probability >= threshold else Outcome.REJECT)


def decide_identification(policy: Policy, quality: CallQuality, best: float | None, threshold: float) -> Verdict:
    """Steps 2 to 4 over all candidates; ``best`` is the highest probability, ``None`` without any candidate."""
    if verdict := judge_audio(policy, quality):
        return verdict
    return Verdict(Outcome.MATCH if best is not None and best >= threshold else Outcome.NO_MATCH)
