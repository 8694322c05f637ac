"""More than one voice in a call: the last one is scored alone, or the answer says that there are several."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from mltraining.messages import Nearest
from mltraining.speech.audio.quality import Quality
from mltraining.speech.scoring import one_voice
from tests.support.clients import upload
from tests.support.customers import enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInPipeline, StandInWorker, embedding_of, recording
from voiceauth.policies.document import VerificationLimits
from voiceauth.verification import policy
from voiceauth.verification.messages import OneVoice
from voiceauth.verification.models import Decision
from voiceauth.verification.policy import Verdict
from voiceauth.verification.voices import hear

Result = Decision.Result
GOOD = Quality(duration_seconds=10, speech_seconds=8, snr_db=20, clipping_ratio=0)
LIMITS = VerificationLimits(min_speech_seconds=3.0, min_snr_db=5.0, max_clipping_ratio=0.05)


@pytest.fixture
def said(db: None, ivr: APIClient, worker: StandInWorker) -> Any:
    """Answers ann's verification of a call in which ``voices`` speak one after the other, ``whole`` if taken as one."""
    activate_model()
    enrolled_customer("ann")

    def verified(*voices: str, whole: str) -> dict[str, Any]:
        audio = upload(recording(whole, take=7, voices=list(voices)))
        answer: dict[str, Any] = ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": audio}).json()
        return answer

    return verified


def test_a_call_that_somebody_else_takes_over_is_not_accepted_and_says_why(said: Any) -> None:
    answer = said("ann", "ann", "bob", "bob", whole="ann")
    assert (answer["decision"], answer["reasons"]) == ("INCONCLUSIVE", ["MORE_THAN_ONE_SPEAKER"])
    assert answer["fallback_required"] and answer["probability"] is None
    assert Decision.objects.get().voice_changes_at == 2.0  # bob begins in the third second


def test_the_customer_after_another_voice_is_scored_alone(said: Any) -> None:
    answer = said("bot", "bot", "ann", "ann", whole="bot")
    assert (answer["decision"], answer["reasons"]) == ("ACCEPT", [])


def test_two_strangers_are_refused_and_the_answer_says_that_they_are_two(said: Any) -> None:
    answer = said("bot", "bot", "eve", "eve", whole="bot")
    assert (answer["decision"], answer["reasons"]) == ("REJECT", ["MORE_THAN_ONE_SPEAKER"])


def test_voices_that_take_turns_are_not_scored_alone(said: Any) -> None:
    answer = said("ann", "bob", "ann", "bob", "ann", "bob", whole="ann")
    assert (answer["decision"], answer["reasons"]) == ("INCONCLUSIVE", ["MORE_THAN_ONE_SPEAKER"])
    assert Decision.objects.get().voice_changes_at is None


def test_one_stranger_is_rejected_without_a_reason(said: Any) -> None:
    answer = said("eve", "eve", "eve", "eve", whole="eve")
    assert (answer["decision"], answer["reasons"]) == ("REJECT", [])
    assert Decision.objects.get().voice_changes_at is None


def test_an_identification_finds_the_customer_after_another_voice(ivr: APIClient, said: Any) -> None:
    audio = upload(recording("bot", take=7, voices=["bot", "bot", "ann", "ann"]))
    assert ivr.post("/api/v1/identify", {"audio": audio}).json()["match"] == "ann"
    audio = upload(recording("ann", take=7, voices=["ann", "ann", "bob", "bob"]))
    answer = ivr.post("/api/v1/identify", {"audio": audio}).json()
    assert (answer["decision"], answer["reasons"]) == ("INCONCLUSIVE", ["MORE_THAN_ONE_SPEAKER"])


@pytest.mark.parametrize(
    ("part_llr", "verified", "identified"),
    [(0.0, Result.INCONCLUSIVE, Result.INCONCLUSIVE), (-0.1, Result.REJECT, Result.NO_MATCH)],
)
def test_several_voices_are_inconclusive_only_where_one_may_be_the_claimed_speakers(
    part_llr: float, verified: Decision.Result, identified: Decision.Result
) -> None:
    reasons = (policy.MORE_THAN_ONE_SPEAKER,)
    assert policy.decide_verification(LIMITS, GOOD, 0.9, 0.5, part_llr=part_llr) == Verdict(verified, reasons)
    assert policy.decide_identification(LIMITS, GOOD, 0.9, 0.5, part_llr=part_llr) == Verdict(identified, reasons)


def parts_of(*voices: str) -> one_voice.Parts | None:
    vectors = np.stack([embedding_of(voice, number, "model") for number, voice in enumerate(voices)])
    windows = one_voice.Windows(vectors, np.arange(len(voices)) / 2, 1.0)
    pipeline: Any = StandInPipeline()
    return one_voice.split(pipeline, windows, GOOD)


def test_the_change_is_where_the_second_voice_begins() -> None:
    parts = parts_of("ann", "ann", "ann", "bob", "bob", "bob", "bob")
    assert parts is not None and parts.log_likelihood_ratio < -4 and parts.changes_at == 1.5
    assert parts.second.speech_seconds == 2.5


def test_parts_of_one_voice_are_alike_and_two_windows_are_no_parts() -> None:
    parts = parts_of(*["ann"] * 6)
    assert parts is not None and parts.log_likelihood_ratio > 2
    assert parts_of("ann", "bob", "ann") is None


@pytest.mark.parametrize(
    ("alike", "first", "second", "accepted"),
    [
        (3.0, 2.5, 2.0, True),  # of one voice: the weaker part adds to the stronger one
        (0.0, 2.5, 2.0, True),
        (-0.1, 2.5, 2.0, False),
        (1.5, 3.5, 1.0, False),  # the weaker part takes from what the stronger one says
        (3.0, 3.5, -0.6, False),
    ],
)
def test_a_call_accepted_as_a_whole_must_hold_in_both_of_its_parts(
    alike: float, first: float, second: float, accepted: bool
) -> None:
    part = one_voice.Part(np.zeros(2), 1.0)
    parts = one_voice.Parts(alike, part, replace(part), None)
    voice: Any = SimpleNamespace(
        parts=parts, exact_parts=parts, of_part=lambda each: "first" if each is part else "second"
    )
    ratios = {"first": first, "second": second}

    def compare(each: Any, name: str | None) -> list[Nearest]:
        ratio = ratios[each] if isinstance(each, str) else 3.0
        return [Nearest(name="ann", score=0.9, log_likelihood_ratio=ratio, probability=0.9)]

    heard = hear(voice, compare, 0.5, OneVoice(min_llr=0.0, min_speech_seconds=1.0))
    assert (heard.part_llr is None) == accepted
