"""The policy as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from enrollment.models import Customer
from mltraining.speech.audio.quality import Quality
from voiceauth.policies.document import VerificationLimits
from voiceauth.verification import policy
from voiceauth.verification.models import Decision
from voiceauth.verification.policy import CLIPPED, TOO_NOISY, VOICEPRINT_STALE, Verdict

Result = Decision.Result


State = Customer.State


def measured(**values: float) -> Quality:
    return Quality(duration_seconds=9.0, **values)


POLICY = VerificationLimits(min_speech_seconds=3.0, min_snr_db=5.0, max_clipping_ratio=0.05)
GOOD = measured(speech_seconds=8.0, snr_db=20.0, clipping_ratio=0.0)
SHORT = measured(speech_seconds=2.99, snr_db=20.0, clipping_ratio=0.0)
NOISY = measured(speech_seconds=8.0, snr_db=4.9, clipping_ratio=0.0)
OVERDRIVEN = measured(speech_seconds=8.0, snr_db=20.0, clipping_ratio=0.06)
BOTH = measured(speech_seconds=8.0, snr_db=4.9, clipping_ratio=0.06)
ALL = measured(speech_seconds=0.1, snr_db=0.0, clipping_ratio=1.0)
AT_THE_LIMITS = measured(speech_seconds=3.0, snr_db=5.0, clipping_ratio=0.05)


@pytest.mark.parametrize(
    ("state", "result"),
    [
        (None, Result.SPEAKER_NOT_ENROLLED),
        (State.PENDING, Result.SPEAKER_NOT_ENROLLED),
        (State.ENROLLING, Result.SPEAKER_NOT_ENROLLED),
        (State.OPTED_OUT, Result.SPEAKER_OPTED_OUT),
        (State.ERASED, Result.SPEAKER_NOT_ENROLLED),
        (State.EXPIRED, Result.SPEAKER_EXPIRED),
        (State.LOCKED, Result.SPEAKER_LOCKED),
    ],
)
def test_only_an_enrolled_speaker_is_scored(state: str | None, result: Decision.Result) -> None:
    found = policy.judge_speaker(state)
    assert found is not None and (found.result, found.reasons) == (result, ())


def test_who_is_unknown_or_locked_is_hidden_from_the_caller() -> None:
    hidden = {state for state in [None, *State] if (verdict := policy.judge_speaker(state)) and verdict.hidden}
    assert hidden == {None, State.ERASED, State.LOCKED}


@pytest.mark.parametrize(
    ("refusals", "seconds"), [(4, 0), (5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (49, 3600)]
)
def test_the_delay_begins_with_the_fifth_refusal_and_grows(refusals: int, seconds: int) -> None:
    assert policy.delay_after(POLICY, refusals) == timedelta(seconds=seconds)
    last = datetime(2026, 11, 25, tzinfo=UTC)
    before, after = (last + timedelta(seconds=seconds + more) for more in (-0.001, 0))
    if seconds:
        waiting = policy.judge_attempts(POLICY, refusals, last, before)
        assert waiting is not None and waiting.hidden
    assert policy.judge_attempts(POLICY, refusals, last, after) is None


def test_every_state_has_its_result() -> None:
    assert [state for state in State if policy.judge_speaker(state) is None] == [State.ENROLLED]


@pytest.mark.parametrize(
    ("quality", "probability", "verdict"),
    [
        (GOOD, 0.9, Verdict(Result.ACCEPT)),
        (GOOD, 0.5, Verdict(Result.ACCEPT)),
        (GOOD, 0.4999, Verdict(Result.REJECT)),
        (AT_THE_LIMITS, 0.9, Verdict(Result.ACCEPT)),
        (SHORT, 0.9, Verdict(Result.NOT_ENOUGH_SPEECH)),
        (SHORT, None, Verdict(Result.NOT_ENOUGH_SPEECH)),
        (ALL, 0.9, Verdict(Result.NOT_ENOUGH_SPEECH)),
        (NOISY, 0.9, Verdict(Result.INCONCLUSIVE, (TOO_NOISY,))),
        (OVERDRIVEN, 0.1, Verdict(Result.INCONCLUSIVE, (CLIPPED,))),
        (BOTH, 0.9, Verdict(Result.INCONCLUSIVE, (TOO_NOISY, CLIPPED))),
        (BOTH, None, Verdict(Result.INCONCLUSIVE, (TOO_NOISY, CLIPPED))),
        (GOOD, None, Verdict(Result.INCONCLUSIVE, (VOICEPRINT_STALE,))),
    ],
)
def test_verification_decides_by_the_first_rule_that_applies(
    quality: Quality, probability: float | None, verdict: Verdict
) -> None:
    assert policy.decide_verification(POLICY, quality, probability, 0.5) == verdict


@pytest.mark.parametrize(
    ("quality", "best", "verdict"),
    [
        (GOOD, 0.5, Verdict(Result.MATCH)),
        (GOOD, 0.4999, Verdict(Result.NO_MATCH)),
        (GOOD, None, Verdict(Result.NO_MATCH)),
        (SHORT, 0.9, Verdict(Result.NOT_ENOUGH_SPEECH)),
        (NOISY, 0.9, Verdict(Result.INCONCLUSIVE, (TOO_NOISY,))),
        (BOTH, 0.9, Verdict(Result.INCONCLUSIVE, (TOO_NOISY, CLIPPED))),
    ],
)
def test_identification_decides_by_the_first_rule_that_applies(
    quality: Quality, best: float | None, verdict: Verdict
) -> None:
    assert policy.decide_identification(POLICY, quality, best, 0.5) == verdict


@pytest.mark.parametrize("result", list(Result))
def test_a_score_is_told_only_where_the_decision_rests_on_it(result: Decision.Result) -> None:
    rests_on_it = result in {Result.ACCEPT, Result.REJECT, Result.MATCH, Result.NO_MATCH}
    assert Verdict(result).is_scored == rests_on_it
