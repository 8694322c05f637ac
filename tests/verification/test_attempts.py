"""Refusals in a row: the delay, the lock, and that the caller learns of neither."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import heard
from enrollment import services as enrollment
from enrollment.models import Customer, HeardRecording
from mltraining import recordings
from mltraining.messages import Recording
from mltraining.models import Calibration as RegisteredCalibration
from mltraining.models import ModelVersion
from mltraining.recordings import Voice
from mltraining.scorer import LoadedModel
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.cohort import Cohort
from tests.support import evidence
from tests.support.clients import error_code, upload
from tests.support.customers import TELLER, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import DIMENSIONS, StandInPipeline, StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import services as policies
from voiceauth.screening.models import ReviewCase
from voiceauth.verification import worker as verification_worker
from voiceauth.verification.models import CallAudio, Caller, Decision

pytestmark = pytest.mark.django_db
VARYING = {"fraud_risk", "decision_id", "created_at", "customer_id", "probability", "log_likelihood_ratio"}


@pytest.fixture
def ann(worker: StandInWorker) -> Customer:
    activate_model()
    return enrolled_customer("ann")


def verify(ivr: APIClient, customer_id: str, audio: bytes, **more: Any) -> Response:
    return ivr.post("/api/v1/verify", {"customer_id": customer_id, "audio": upload(audio), **more})


def told(answer: Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in VARYING}


def test_the_fifth_refusal_in_a_row_begins_a_delay_that_the_caller_cannot_see(ivr: APIClient, ann: Customer) -> None:
    refusals = [verify(ivr, "ann", recording("eve", take)) for take in range(5)]
    waiting = verify(ivr, "ann", recording("ann"))
    assert told(waiting) == told(refusals[0])
    assert waiting.json()["probability"] < waiting.json()["threshold"]
    assert Decision.objects.get(pk=waiting.json()["decision_id"]).decision == "TOO_MANY_ATTEMPTS"
    ann.refresh_from_db()
    assert (ann.refusals, ann.state) == (5, "ENROLLED")
    Customer.objects.update(refused_at=timezone.now() - timedelta(seconds=31))
    assert verify(ivr, "ann", recording("ann")).json()["decision"] == "ACCEPT"
    ann.refresh_from_db()
    assert (ann.refusals, ann.refused_at) == (0, None)


def test_the_last_refusal_of_the_policy_locks_and_a_person_unlocks(
    ivr: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    policies.change(content={"verification": {"lock_after": 7}}, reason="x", based_on=0, actor=TELLER)
    for take in range(7):
        Customer.objects.update(refused_at=timezone.now() - timedelta(days=1))
        refused = verify(ivr, "ann", recording("eve", take))
    ann.refresh_from_db()
    assert ann.state == "LOCKED"
    assert AuditEvent.objects.get(action="customer.locked").data == {"refusals": 7}
    Customer.objects.update(refused_at=timezone.now() - timedelta(days=1))
    locked = verify(ivr, "ann", recording("ann"))
    assert told(locked) == told(refused)
    seen = reviewer.get(f"/api/v1/decisions/{locked.json()['decision_id']}").json()
    assert (seen["decision"], seen["told"]["decision"], seen["probability"]) == ("SPEAKER_LOCKED", "REJECT", None)
    unlocked = reviewer.post("/api/v1/customers/ann/unlock", {"reason": "called her back"}, format="json")
    assert unlocked.json()["state"] == "ENROLLED"
    assert verify(ivr, "ann", recording("ann")).json()["decision"] == "ACCEPT"


def test_an_unknown_customer_is_answered_like_one_who_is_refused(
    ivr: APIClient, ann: Customer, worker: StandInWorker
) -> None:
    enrollment.create_customer(customer_id="gone", actor=TELLER)
    enrollment.erase_customer(customer_id="gone", actor=TELLER)
    refused = verify(ivr, "ann", recording("eve"))
    worker.calls.clear()
    for unknown in ("nobody", "gone"):
        answer = verify(ivr, unknown, recording("eve"))
        assert told(answer) == told(refused)
        assert answer.json()["probability"] < answer.json()["threshold"]
        again = verify(ivr, unknown, recording("eve"))
        assert again.json()["probability"] == answer.json()["probability"]  # as an enrolled customer's would be
    assert worker.calls == ["verification.verify_call"] * 4
    assert set(Decision.objects.exclude(customer_id="ann").values_list("decision", flat=True)) == {
        "SPEAKER_NOT_ENROLLED"
    }
    assert not CallAudio.objects.exclude(customer=ann).exists()


@pytest.mark.parametrize("audio", [b"junk", recording("eve", speech_seconds=0.1), recording("eve", snr_db=-5.0)])
def test_poor_audio_tells_an_unknown_customer_from_nobody_else(ivr: APIClient, ann: Customer, audio: bytes) -> None:
    answers = [verify(ivr, name, audio) for name in ("ann", "nobody")]
    assert answers[0].status_code == answers[1].status_code
    if answers[0].status_code == 200:
        assert told(answers[0]) == told(answers[1])
    else:
        assert error_code(answers[0]) == error_code(answers[1])


def test_a_caller_is_counted_whomever_they_claim_to_be(ivr: APIClient, ann: Customer, worker: StandInWorker) -> None:
    enrolled_customer("bob")
    number = "+44 20 7946 0958"
    for claimed in ("ann", "bob", "nobody", "ann", "bob"):
        verify(ivr, claimed, recording("eve"), caller=number)
    answer = verify(ivr, "ann", recording("ann"), caller=number)
    assert answer.json()["decision"] == "REJECT"
    assert Decision.objects.get(pk=answer.json()["decision_id"]).decision == "TOO_MANY_ATTEMPTS"
    assert verify(ivr, "ann", recording("ann"), caller="+44 20 7946 0001").json()["decision"] == "ACCEPT"
    assert "7946" not in Caller.objects.get().pk


def test_poor_audio_is_no_refusal(ivr: APIClient, ann: Customer) -> None:
    for _ in range(6):
        verify(ivr, "ann", recording("ann", speech_seconds=0.1))
    ann.refresh_from_db()
    assert ann.refusals == 0


@pytest.mark.usefixtures("ann")
def test_the_answer_names_the_fallback_and_what_an_accept_is_worth(ivr: APIClient) -> None:
    content = {
        "verification": {"fallback": "one_time_passcode"},
        "tiers": {"greeting": {"target_far": 0.5, "further_factor_required": False}},
    }
    policies.change(content=content, reason="x", based_on=0, actor=TELLER)
    plain, balance, greeting = (
        verify(ivr, "ann", recording("ann", take), tier=tier).json()
        for take, tier in enumerate(("", "balance", "greeting"), start=1)
    )
    assert [each["decision"] for each in (plain, balance, greeting)] == ["ACCEPT"] * 3
    assert [each["further_factor_required"] for each in (plain, balance, greeting)] == [True, True, False]
    refused = verify(ivr, "ann", recording("eve")).json()
    found = ivr.post("/api/v1/identify", {"audio": upload(recording("ann", 4))}).json()
    assert (refused["decision"], found["decision"], found["further_factor_required"]) == ("REJECT", "MATCH", True)
    assert {each["fallback"] for each in (plain, balance, greeting, refused, found)} == {"one_time_passcode"}
    assert set(Decision.objects.values_list("policy", flat=True)) == {1}


@pytest.mark.usefixtures("ann")
def test_a_tier_has_the_threshold_of_its_false_accept_rate_and_no_tier_that_of_the_policy(ivr: APIClient) -> None:
    plain, balance, transfer = (
        verify(ivr, "ann", recording("ann"), **({"tier": tier} if tier else {})).json()
        for tier in ("", "balance", "transfer")
    )
    assert plain["threshold"] == balance["threshold"] < transfer["threshold"] < 1
    assert transfer["tier"] == "transfer"
    policies.change(content={"verification": {"target_far": 0.001}}, reason="x", based_on=0, actor=TELLER)
    for answer in (
        verify(ivr, "ann", recording("ann", 2)).json(),
        ivr.post("/api/v1/identify", {"audio": upload(recording("ann", 3))}).json(),
    ):
        assert answer["threshold"] == transfer["threshold"]
    unknown = verify(ivr, "ann", recording("ann"), tier="mortgage")
    assert (unknown.status_code, error_code(unknown)) == (422, "unknown_tier")


def test_a_tier_that_the_calibration_cannot_promise_is_refused_and_no_retry_is_advised(
    ivr: APIClient, ann: Customer
) -> None:
    evidence.calibrate(ModelVersion.objects.get(), replace(evidence.ENOUGH, impostor_trials=400))
    refused = verify(ivr, "ann", recording("ann"), tier="transfer")
    assert (refused.status_code, error_code(refused)) == (409, "tier_not_calibrated")
    assert "Retry-After" not in refused
    missing = refused.json()["error"]["data"]["missing"]
    assert [(each["code"], each["have"], each["need"]) for each in missing] == [("too_few_impostor_trials", 400, 3000)]
    assert not Decision.objects.exists()
    assert verify(ivr, "ann", recording("ann"), tier="balance").json()["decision"] == "ACCEPT"


def test_a_model_without_evidence_is_judged_by_what_its_ratios_promise_and_never_at_one_half(
    ivr: APIClient, ann: Customer
) -> None:
    evidence.calibrate(ModelVersion.objects.get(), evidence.RETRAINED)
    answer = verify(ivr, "ann", recording("ann")).json()
    assert answer["threshold"] == pytest.approx(100 / 101, abs=1e-5)  # at even odds, a ratio of 1 to 0.01
    refused = verify(ivr, "ann", recording("ann", 2), tier="balance")
    assert (refused.status_code, error_code(refused)) == (409, "tier_not_calibrated")


def test_what_is_redacted_is_not_kept(ivr: APIClient, ann: Customer) -> None:
    from voiceauth.verification import selectors

    content = recording("ann")
    answer = verify(ivr, "ann", content, redact="[[1.5, 4]]").json()
    assert (answer["decision"], answer["speech_seconds"]) == ("ACCEPT", 7.5)
    assert selectors.call_audio(CallAudio.objects.get()) != content
    assert Decision.objects.get().redacted == [[1.5, 4]]


def test_a_recording_is_accepted_once(ivr: APIClient, ann: Customer) -> None:
    first, again = (verify(ivr, "ann", recording("ann", 5)).json() for _ in range(2))
    assert (first["decision"], first["fraud_risk"]["level"]) == ("ACCEPT", "LOW_RISK")
    assert (again["decision"], again["reasons"], again["fallback_required"]) == ("REJECT", ["REPLAY"], True)
    assert again["fraud_risk"] == {"level": "HIGH_RISK", "reasons": [{"code": "REPLAY", "score": 1.0}]}
    case = ReviewCase.objects.get()
    assert (case.kind, case.customer_id) == ("REPLAY", "ann")
    evidence = case.evidence[0]
    assert (evidence["heard_in_decision"], evidence["offset_seconds"]) == (first["decision_id"], 0.0)
    assert [start for start, _ in evidence["stretches"]] == [0.0]  # all of it repeats the first call
    assert verify(ivr, "ann", recording("ann", 6)).json()["decision"] == "ACCEPT"


def test_an_announcement_that_was_heard_before_is_no_replay_of_the_customer(
    ivr: APIClient, ann: Customer, worker: StandInWorker
) -> None:
    announced = recording("bot")
    analysis = recordings.analyse(Recording(audio=announced))
    heard.remember(ann, decision_id=uuid.uuid4(), acoustic_fingerprint=analysis.acoustic_fingerprint())
    answer = verify(ivr, "ann", announced).json()
    assert (answer["decision"], answer["reasons"]) == ("REJECT", [])
    assert answer["fraud_risk"]["level"] == "LOW_RISK" and not ReviewCase.objects.exists()


def test_the_recording_of_an_enrollment_is_no_call_and_goes_with_the_customer(ivr: APIClient, ann: Customer) -> None:
    answer = verify(ivr, "ann", recording("ann", 0, speech_seconds=30.0)).json()
    assert (answer["decision"], answer["reasons"]) == ("REJECT", ["REPLAY"])
    enrollment.erase_customer(customer_id="ann", actor=TELLER)
    assert not HeardRecording.objects.exists()


def test_a_decoy_scores_like_any_voice_that_is_refused(worker: StandInWorker) -> None:
    random = np.random.default_rng(0)
    means, embedding = (random.normal(size=shape).astype(np.float32) for shape in ((200, DIMENSIONS), (DIMENSIONS,)))
    pipeline: Any = StandInPipeline(calibration=Calibration.of(1.0, 0.0, 0.5), decoys=Cohort(means).means)
    model = LoadedModel("v", "f", pipeline, RegisteredCalibration())
    analysis = recordings.analyse(Recording(audio=recording("ann")))
    voice = Voice(analysis, model, embedding / np.linalg.norm(embedding))
    everybody = voice.compare(pipeline.decoys, 20.0)
    threshold = float(np.quantile(everybody.probability, 0.9))
    found = [verification_worker._decoy(voice, f"C-{number}", threshold) for number in range(60)]
    assert all(each.probability < threshold for each in found)
    closer = np.mean([each.log_likelihood_ratio > np.median(everybody.log_likelihood_ratio) for each in found])
    assert 0.25 < closer < 0.65  # the closest of several voices: nearly always
    assert verification_worker._decoy(voice, "C-1", threshold) == found[1]
