"""A voiceprint that grows: calls whose caller another factor has confirmed."""

import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from enrollment import enrichment, samples, selectors, services, voiceprints
from enrollment.models import AudioSample, ConfirmedCall, Customer, HeardRecording, SampleEmbedding, Voiceprint
from mltraining.messages import Embedding
from mltraining.models import ModelVersion
from mltraining.speech.scoring.voiceprints import mean_voiceprint
from tests.support.clients import api_client, error_code, upload
from tests.support.customers import TELLER, enrolled_customer, run_erasures
from tests.support.fraudsters import default
from tests.support.model import activate_model
from tests.support.people import SignIn
from tests.support.stand_in import StandInWorker, embedding_of, recording
from voiceauth.platform import storage as audio_store
from voiceauth.platform.api import idempotency
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure
from voiceauth.policies import selectors as policies_in_force
from voiceauth.policies import services as policies
from voiceauth.screening import watchlists
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db
OTP = "one_time_passcode"


@pytest.fixture
def ann(worker: StandInWorker) -> Customer:
    activate_model()
    allow(methods=[OTP, "document"])
    return enrolled_customer("ann")


def allow(**enrichment: Any) -> None:
    number = policies_in_force.in_force().number
    policies.change(content={"enrichment": enrichment}, reason="x", based_on=number, actor=TELLER)


def call(ivr: APIClient, audio: bytes, customer_id: str = "ann", **more: Any) -> str:
    """The id of the decision."""
    answer = ivr.post("/api/v1/verify", {"customer_id": customer_id, "audio": upload(audio), **more})
    assert answer.status_code == 200, answer.content
    return str(answer.json()["decision_id"])


def confirm(client: APIClient, decision_id: str, method: str = OTP, **headers: Any) -> Any:
    address = f"/api/v1/decisions/{decision_id}/confirmation"
    return client.post(address, {"method": method}, format="json", **headers)


def revoke(client: APIClient, decision_id: str) -> Any:
    return client.delete(f"/api/v1/decisions/{decision_id}/confirmation")


def reason() -> Any:
    return AuditEvent.objects.filter(action="decision.confirmed").latest("sequence").data["reason"]


def calls() -> list[AudioSample]:
    return list(AudioSample.objects.filter(confirmation__isnull=False).order_by("created_at"))


def test_a_confirmed_call_becomes_a_part_of_the_voiceprint_with_its_provenance(
    ivr: APIClient, teller: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    content = recording("ann", take=2, speech_seconds=6.0)
    decision = call(ivr, content)
    answer = confirm(ivr, decision)
    assert (answer.status_code, answer.json()) == (
        201,
        {"decision_id": decision, "method": OTP, "outcome": "ADDED"},
    )
    (sample,) = calls()
    assert selectors.sample_audio(sample) == content  # so that the next model can embed it
    assert (sample.origin, sample.created_by, sample.speech_seconds) == ("confirmed_call", "a-ivr", 6.0)
    fingerprint = Voiceprint.objects.get().model_fingerprint
    known = voiceprints.voiceprint_of(ann, fingerprint)
    embeddings = np.stack([embedding_of("ann", take, fingerprint) for take in (0, 2)])
    assert known is not None
    assert np.allclose(known.vector, mean_voiceprint(embeddings, np.array([30.0, 6.0])), atol=1e-6)
    shown = teller.get("/api/v1/customers/ann/enrollments").json()["results"]
    assert [each["confirmation"] for each in shown] == [None, {"decision_id": decision, "method": OTP}]
    customer = teller.get("/api/v1/customers/ann").json()
    assert (customer["confirmed_calls"], customer["speech_seconds"]) == (1, 30.0)
    assert reviewer.get(f"/api/v1/decisions/{decision}").json()["confirmed_by"] == OTP
    event = AuditEvent.objects.get(action="decision.confirmed")
    assert (event.target, event.customer_id, event.actor) == (f"decision:{decision}", "ann", "a-ivr")
    assert (event.data["outcome"], event.data["method"], event.data["sample_id"]) == ("ADDED", OTP, str(sample.pk))


def test_a_call_that_the_voice_alone_refused_is_added_where_it_sounds_like_the_customer(
    ivr: APIClient, ann: Customer
) -> None:
    decision = call(ivr, recording("ann", take=2))
    Decision.objects.update(decision="REJECT", probability=0.1)
    assert confirm(ivr, decision).json()["outcome"] == "ADDED"


def test_an_accept_adds_nothing_by_itself(ivr: APIClient, ann: Customer) -> None:
    call(ivr, recording("ann", take=2))
    assert not calls() and SampleEmbedding.objects.count() == 1


def test_without_a_policy_no_method_counts_and_the_voice_never_does(ivr: APIClient, ann: Customer) -> None:
    decision = call(ivr, recording("ann", take=2))
    refused = confirm(ivr, decision, "knowledge")
    assert (refused.status_code, error_code(refused)) == (409, "method_not_accepted")
    assert refused.json()["error"]["data"]["accepted"] == ["document", OTP]
    assert error_code(confirm(ivr, decision, "voice")) == "validation_error"
    policies.change(content={}, reason="x", based_on=1, actor=TELLER)
    assert error_code(confirm(ivr, decision)) == "method_not_accepted"
    assert not calls()


@pytest.mark.parametrize("measured", [{"speech_seconds": 0.1}, {"snr_db": -5.0}])
def test_a_call_without_a_usable_voice_cannot_be_confirmed(
    ivr: APIClient, ann: Customer, measured: dict[str, float]
) -> None:
    refused = confirm(ivr, call(ivr, recording("ann", take=2, **measured)))
    assert (refused.status_code, error_code(refused)) == (409, "not_confirmable")


def test_a_replay_and_a_flagged_call_cannot_be_confirmed(ivr: APIClient, ann: Customer) -> None:
    call(ivr, recording("ann", take=2))
    replayed = confirm(ivr, call(ivr, recording("ann", take=2)))
    assert (error_code(replayed), replayed.json()["error"]["data"]["reasons"]) == ("not_confirmable", ["REPLAY"])
    flagged = call(ivr, recording("ann", take=3))
    risk = {"level": "HIGH_RISK", "reasons": [{"code": "VELOCITY", "score": 1.0}]}
    Decision.objects.filter(pk=flagged).update(fraud_risk=risk)
    assert error_code(confirm(ivr, flagged)) == "not_confirmable"
    assert not calls()


def test_an_identification_cannot_be_confirmed(ivr: APIClient, ann: Customer) -> None:
    found = ivr.post("/api/v1/identify", {"audio": upload(recording("ann", 4))}).json()
    assert found["decision"] == "MATCH"
    assert error_code(confirm(ivr, found["decision_id"])) == "not_confirmable"


def test_no_call_is_added_whose_audio_was_not_kept(ivr: APIClient, ann: Customer, settings: Settings) -> None:
    settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS = 0
    assert confirm(ivr, call(ivr, recording("ann", take=2))).json()["outcome"] == "NOT_ADDED"
    assert reason() == "no_audio"
    assert not calls()


def test_another_voice_is_not_added_and_the_answer_does_not_say_why(ivr: APIClient, ann: Customer) -> None:
    answer = confirm(ivr, call(ivr, recording("eve")))
    assert (answer.status_code, answer.json()["outcome"]) == (201, "NOT_ADDED")
    assert set(answer.json()) == {"decision_id", "method", "outcome"}
    assert reason() == "another_voice"
    assert not calls() and not ConfirmedCall.objects.exists()


def test_unknown_and_locked_customers_get_the_answer_of_another_voice(
    ivr: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    refused = confirm(ivr, call(ivr, recording("eve")))
    unknown = confirm(ivr, call(ivr, recording("eve", take=2), "nobody"))
    reviewer.post("/api/v1/customers/ann/lock", {"reason": "SIM swap"}, format="json")
    locked = confirm(ivr, call(ivr, recording("ann", take=3)))
    for answer in (unknown, locked):
        assert answer.status_code == refused.status_code
        assert {**answer.json(), "decision_id": ""} == {**refused.json(), "decision_id": ""}
    assert reason() == "SPEAKER_LOCKED"


def test_a_customer_who_is_locked_after_the_call_gets_the_same_answer(
    ivr: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    decision = call(ivr, recording("ann", take=2))
    reviewer.post("/api/v1/customers/ann/lock", {"reason": "SIM swap"}, format="json")
    assert confirm(ivr, decision).json()["outcome"] == "NOT_ADDED"
    assert reason() == "customer_locked"


def test_a_voice_that_is_not_sure_waits_for_a_reviewer(
    ivr: APIClient, teller: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    allow(methods=[OTP], min_llr=50)
    decision = call(ivr, recording("ann", take=2))
    assert confirm(ivr, decision).json()["outcome"] == "HELD"
    (sample,) = calls()
    assert sample.held_for == ["COHESION"]
    assert Voiceprint.objects.get().sample_count == 1
    approval = f"/api/v1/customers/ann/enrollments/{sample.pk}/approve"
    assert error_code(teller.post(approval)) == "review_required"  # a teller cannot listen to it
    assert reviewer.post(approval).status_code == 200
    assert Voiceprint.objects.get().sample_count == 2
    assert Customer.objects.get().speech_seconds == 30.0


def test_a_fraudster_s_call_waits_for_a_reviewer_even_where_a_factor_confirmed_it(
    ivr: APIClient, ann: Customer
) -> None:
    decision = call(ivr, recording("ann", take=2))
    model = ModelVersion.objects.get()
    heard = embedding_of("ann", 0, model.fingerprint)  # a voice that sounds like the caller's, listed after the call
    watchlists.add_fraudster(
        watchlist_id=default().pk,
        audio=recording("ann", take=0),
        speech_seconds=10.0,
        embedding=Embedding(model_version=model.version, model_fingerprint=model.fingerprint, vector=heard),
        source="upload",
        actor=TELLER,
    )
    assert confirm(ivr, decision).json()["outcome"] == "HELD"
    assert "REVIEW" in calls()[0].held_for


def test_a_call_is_compared_with_the_enrolled_recordings_alone(ivr: APIClient, ann: Customer) -> None:
    confirm(ivr, call(ivr, recording("ann", take=2)))
    fingerprint = Voiceprint.objects.get().model_fingerprint
    (sample,) = calls()
    voiceprints.store_embedding(sample, fingerprint, embedding_of("eve", 1, fingerprint))  # as if one had slipped in
    voiceprints.refresh_voiceprint(ann, fingerprint)
    assert confirm(ivr, call(ivr, recording("eve", take=7))).json()["outcome"] == "NOT_ADDED"
    assert reason() == "another_voice"


def test_confirmed_calls_never_outweigh_the_enrolled_recordings() -> None:
    seconds, is_call = np.array([20.0, 30.0, 50.0]), np.array([False, True, True])
    assert voiceprints.weights(seconds, is_call) == pytest.approx([20.0, 7.5, 12.5])
    few = np.array([20.0, 5.0, 5.0])
    assert voiceprints.weights(few, is_call) == pytest.approx(few)


def test_without_a_model_no_call_is_added(ivr: APIClient, ann: Customer) -> None:
    decision = call(ivr, recording("ann", take=2))
    ModelVersion.objects.update(state="RETIRED")
    assert confirm(ivr, decision).json()["outcome"] == "NOT_ADDED"
    assert reason() == "another_voice"


def test_a_further_call_takes_the_place_of_the_oldest(ivr: APIClient, ann: Customer) -> None:
    allow(methods=[OTP], max_calls=2)
    decisions = [call(ivr, recording("ann", take=take)) for take in (2, 3, 4)]
    assert [confirm(ivr, each).json()["outcome"] for each in decisions] == ["ADDED"] * 3
    assert [str(each.confirmation.decision_id) for each in calls()] == decisions[1:]
    assert Voiceprint.objects.get().sample_count == 3
    removed = AuditEvent.objects.get(action="enrollment.sample_removed")
    assert removed.data["decision_id"] == decisions[0]
    assert Erasure.objects.get().counts["samples"] == 1


def test_a_call_that_is_too_old_is_removed(ivr: APIClient, ann: Customer) -> None:
    allow(methods=[OTP], max_age_days=100)
    decisions = [call(ivr, recording("ann", take=take)) for take in (2, 3)]
    for each in decisions:
        confirm(ivr, each)
    oldest = AudioSample.objects.filter(confirmation__decision_id=decisions[0])
    oldest.update(created_at=timezone.now() - timedelta(days=101))
    AudioSample.objects.filter(confirmation=None).update(created_at=timezone.now() - timedelta(days=500))
    assert enrichment.expire_calls() == 1
    assert [str(each.confirmation.decision_id) for each in calls()] == decisions[1:]
    assert Voiceprint.objects.get().sample_count == 2  # the enrolled recording has no such age
    assert AuditEvent.objects.get(action="enrollment.sample_removed").actor == "system"
    assert enrichment.expire_calls() == 0


def test_a_revoked_call_is_gone_for_good(ivr: APIClient, reviewer: APIClient, ann: Customer) -> None:
    decision = call(ivr, recording("ann", take=2))
    confirm(ivr, decision)
    name = str(calls()[0].audio.content.name)
    assert revoke(ivr, decision).status_code == 403
    answer = revoke(reviewer, decision)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "REVOKED")
    assert Voiceprint.objects.get().sample_count == 1
    assert AuditEvent.objects.get(action="enrollment.sample_removed").data["decision_id"] == decision
    run_erasures()
    assert not audio_store.storage().exists(name)
    assert (revoke(reviewer, decision).status_code, error_code(revoke(reviewer, decision))) == (
        404,
        "confirmation_not_found",
    )
    assert error_code(confirm(ivr, decision)) == "already_confirmed"
    assert error_code(revoke(reviewer, str(uuid.uuid4()))) == "confirmation_not_found"


def test_calls_go_with_the_last_recording_that_they_were_compared_with(ivr: APIClient, ann: Customer) -> None:
    confirm(ivr, call(ivr, recording("ann", take=2)))
    enrolled = ann.samples.get(confirmation=None)
    samples.remove_sample(customer_id="ann", sample_id=enrolled.pk, actor=TELLER)
    ann.refresh_from_db()
    assert (ann.state, ann.samples.count(), ann.voiceprints.count()) == ("PENDING", 0, 0)


def test_confirmed_calls_make_nobody_enrolled(ivr: APIClient, ann: Customer) -> None:
    samples.enroll_sample(customer_id="ann", audio=recording("ann", take=8, speech_seconds=5.0), actor=TELLER)
    confirm(ivr, call(ivr, recording("ann", take=2, speech_seconds=25.0)))
    first = ann.samples.order_by("created_at").first()
    assert first is not None
    customer = samples.remove_sample(customer_id="ann", sample_id=first.pk, actor=TELLER)
    assert (customer.state, customer.speech_seconds) == ("ENROLLING", 5.0)


def test_an_erasure_and_an_expiry_take_the_calls_too(ivr: APIClient, ann: Customer) -> None:
    confirm(ivr, call(ivr, recording("ann", take=2)))
    names = [str(each.audio.content.name) for each in calls()]
    Customer.objects.update(last_accessed_at=timezone.now() - timedelta(days=1096))
    assert services.expire_unused() == 1
    assert not AudioSample.objects.exists() and not ConfirmedCall.objects.exists()
    assert not HeardRecording.objects.exists() and not CallAudio.objects.exists()
    run_erasures()
    assert not any(audio_store.storage().exists(name) for name in names)


def test_a_confirmation_is_answered_once_and_a_repeat_under_its_key_gets_the_same(
    ivr: APIClient, ann: Customer
) -> None:
    decision, key = call(ivr, recording("ann", take=2)), {"HTTP_IDEMPOTENCY_KEY": "k1"}
    first, again = confirm(ivr, decision, **key), confirm(ivr, decision, **key)
    assert (again.json(), again["Idempotent-Replayed"]) == (first.json(), "true")
    assert error_code(confirm(ivr, decision)) == "already_confirmed"
    assert len(calls()) == 1


@pytest.mark.parametrize("voice", ["ann", "eve"])
def test_a_repeat_after_a_crash_gets_what_was_committed(
    ivr: APIClient, ann: Customer, voice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision, key = call(ivr, recording(voice, take=2)), {"HTTP_IDEMPOTENCY_KEY": "k1"}

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(idempotency, "_settle", crash)
        confirm(ivr, decision, **key)
    again = confirm(ivr, decision, **key)
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")
    assert again.json()["outcome"] == ("ADDED" if voice == "ann" else "NOT_ADDED")


def test_the_teller_confirms_and_other_roles_do_not(
    ivr: APIClient, teller: APIClient, reviewer: APIClient, ann: Customer
) -> None:
    decision = call(ivr, recording("ann", take=2))
    assert confirm(reviewer, decision).status_code == confirm(api_client("auditor"), decision).status_code == 403
    assert confirm(teller, decision, "document").json()["outcome"] == "ADDED"


def test_the_dashboard_shows_a_call_in_the_voiceprint_and_removes_it(
    ivr: APIClient, ann: Customer, signed_in: SignIn
) -> None:
    decision = call(ivr, recording("ann", take=2))
    confirm(ivr, decision)
    client: Client = signed_in("reviewer")
    shown = client.get(f"/admin/enrollment/customer/{ann.pk}/change/").content.decode()
    assert (
        f'<a href="/admin/verification/decision/{decision}/change/">call</a>, confirmed by one time passcode' in shown
    )
    page, action = (f"/admin/verification/decision/{decision}/{end}/" for end in ("change", "do/revoke"))
    assert "one time passcode" in client.get(page).content.decode()
    assert signed_in("auditor").post(action).status_code == 403
    assert client.post(action).status_code == 302
    assert not calls()
    after = client.get(page).content.decode()
    assert "removed from the voiceprint" in after and "do/revoke" not in after
