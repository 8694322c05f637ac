"""The policy: from what is known of a call to its decision. Pure functions.

The first rule that applies decides::

    1  the claimed speaker's state     SPEAKER_NOT_ENROLLED (unknown, PENDING, ENROLLING), SPEAKER_OPTED_OUT,
                                       SPEAKER_EXPIRED, SPEAKER_LOCKED
       refusals in a row               TOO_MANY_ATTEMPTS, of the customer or the caller, until the delay is over
    2  net speech under the minimum    NOT_ENOUGH_SPEECH
    3  audio that would mislead        INCONCLUSIVE with TOO_NOISY, CLIPPED or both
       nothing to compare with         INCONCLUSIVE with VOICEPRINT_STALE: none yet under the model in service
       a recording heard before        REJECT with REPLAY: a challenge is accepted once
       more than one voice             INCONCLUSIVE with MORE_THAN_ONE_SPEAKER where one may be the claimed speaker's,
                                       otherwise REJECT or NO_MATCH with it
    4  probability >= threshold        ACCEPT (verify), MATCH (identify, the best candidate)
       otherwise                       REJECT (verify), NO_MATCH (identify)

The caller must not learn from the answer who is a customer, who is locked, or that they have to wait (PSD2 RTS
Art. 4(3)(a)). So an unknown customer, a locked customer and too many attempts are **hidden**: the call is scored
against a decoy, and the caller is told what that gives, a refusal or what is wrong with the audio. The decision keeps
the cause.

Each row of an identification is a verification trial of its own, at the same threshold. With N candidates and a false
match rate FMR a stranger is matched with probability 1 - (1 - FMR)^N. Verify a claimed identity where you can, and give
few candidates where you cannot.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from enrollment.models import Customer
from voiceauth.policies.document import VerificationLimits
from voiceauth.screening.risk import REPLAY
from voiceauth.verification.models import Decision

Result = Decision.Result
State = Customer.State

TOO_NOISY = "TOO_NOISY"
CLIPPED = "CLIPPED"
MORE_THAN_ONE_SPEAKER = "MORE_THAN_ONE_SPEAKER"
VOICEPRINT_STALE = "VOICEPRINT_STALE"

RESULT_OF_STATE = {
    State.OPTED_OUT: Result.SPEAKER_OPTED_OUT,
    State.EXPIRED: Result.SPEAKER_EXPIRED,
}


class Quality(Protocol):
    """What the policy judges of a recording: the worker's report has it, and so has the speech library's."""

    @property
    def speech_seconds(self) -> float:
        """Net speech."""

    @property
    def snr_db(self) -> float:
        """Decibels of speech over noise."""

    @property
    def clipping_ratio(self) -> float:
        """Share of the samples of speech that are clipped, 0 to 1."""


@dataclass(frozen=True)
class Verdict:
    """What the policy says of a call, and why."""

    result: Decision.Result
    reasons: tuple[str, ...] = ()
    hidden: bool = False  # the caller is told something else

    @property
    def is_scored(self) -> bool:
        """Whether the decision rests on a score, so that the caller may see the score."""
        return self.result in {Result.ACCEPT, Result.REJECT, Result.MATCH, Result.NO_MATCH}


UNKNOWN_SPEAKER = Verdict(Result.SPEAKER_NOT_ENROLLED, hidden=True)


def judge_speaker(state: str | None) -> Verdict | None:
    """Step 1: judge the claimed speaker's state, ``None`` for an unknown one. No verdict where ENROLLED."""
    if state == State.ENROLLED:
        return None
    if state in (None, State.ERASED):
        return UNKNOWN_SPEAKER
    if state == State.LOCKED:
        return Verdict(Result.SPEAKER_LOCKED, hidden=True)
    return Verdict(RESULT_OF_STATE.get(State(state), Result.SPEAKER_NOT_ENROLLED))


def judge_attempts(
    limits: VerificationLimits, refusals: int, refused_at: datetime | None, now: datetime
) -> Verdict | None:
    """Step 1: judge ``refusals`` in a row, the last at ``refused_at``. No verdict where the wait is over."""
    if delayed_until(limits, refusals, refused_at, now) is None:
        return None
    return Verdict(Result.TOO_MANY_ATTEMPTS, hidden=True)


def delayed_until(
    limits: VerificationLimits, refusals: int, refused_at: datetime | None, now: datetime
) -> datetime | None:
    """Return until when no call is scored; ``None`` where there is no delay, or it is over."""
    until = None if refused_at is None else refused_at + delay_after(limits, refusals)
    return until if until is not None and now < until else None


def delay_after(limits: VerificationLimits, refusals: int) -> timedelta:
    """Return how long no call is scored after so many refusals in a row. It doubles with each further one."""
    beyond = refusals - limits.delay_after
    if beyond < 0:
        return timedelta(0)
    longest = limits.longest_delay_seconds
    return timedelta(seconds=min(longest, limits.first_delay_seconds * 2.0 ** min(beyond, 30)))


def judge_audio(limits: VerificationLimits, quality: Quality) -> Verdict | None:
    """Steps 2 and 3: judge the audio. No verdict where it may be scored."""
    if quality.speech_seconds < limits.min_speech_seconds:
        return Verdict(Result.NOT_ENOUGH_SPEECH)
    reasons = []
    if quality.snr_db < limits.min_snr_db:
        reasons.append(TOO_NOISY)
    if quality.clipping_ratio > limits.max_clipping_ratio:
        reasons.append(CLIPPED)
    return Verdict(Result.INCONCLUSIVE, tuple(reasons)) if reasons else None


def decide_verification(
    limits: VerificationLimits,
    quality: Quality,
    probability: float | None,
    threshold: float,
    *,
    replayed: bool = False,
    part_llr: float | None = None,
) -> Verdict:
    """Steps 2 to 4: decide for an enrolled speaker; ``probability`` is ``None`` where there is no voiceprint.

    ``part_llr`` is there where more than one person speaks: of the voiceprint and the part that is closest to it.
    """
    if verdict := judge_audio(limits, quality):
        return verdict
    if replayed:
        return Verdict(Result.REJECT, (REPLAY,))
    if probability is None:
        return Verdict(Result.INCONCLUSIVE, (VOICEPRINT_STALE,))
    if part_llr is not None:
        return _more_than_one(part_llr, Result.REJECT)
    return Verdict(Result.ACCEPT if probability >= threshold else Result.REJECT)


def decide_identification(
    limits: VerificationLimits, quality: Quality, best: float | None, threshold: float, *, part_llr: float | None = None
) -> Verdict:
    """Steps 2 to 4: decide over all candidates; ``best`` is the highest probability, ``None`` without candidates.

    ``part_llr`` is as in ``decide_verification``.
    """
    if verdict := judge_audio(limits, quality):
        return verdict
    if part_llr is not None:
        return _more_than_one(part_llr, Result.NO_MATCH)
    return Verdict(Result.MATCH if best is not None and best >= threshold else Result.NO_MATCH)


def _more_than_one(part_llr: float, refusal: Result) -> Verdict:
    """A refusal, which counts as an attempt, where no part of the call sounds like the claimed speaker."""
    return Verdict(Result.INCONCLUSIVE if part_llr >= 0 else refusal, (MORE_THAN_ONE_SPEAKER,))
