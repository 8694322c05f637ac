"""Consent over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from enrollment import services
from enrollment.models import AudioSample, Consent, Customer, SampleEmbedding, SealedAudio, Voiceprint
from tests.support.clients import error_code, upload
from tests.support.customers import IVR, TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification import services as verification
from voiceauth.verification.models import CallAudio

pytestmark = pytest.mark.django_db
AGREED = {"purpose": "voice_authentication", "text_version": "2026-09", "origin": "branch"}


def consent_of(customer_id: str) -> str:
    return f"/api/v1/customers/{customer_id}/consent"


def new_customer(customer_id: str) -> None:
    services.create_customer(customer_id=customer_id, actor=TELLER)


def test_a_consent_is_recorded_with_purpose_text_origin_time_and_teller(teller: APIClient) -> None:
    new_customer("ann")
    answer = teller.post(consent_of("ann"), AGREED, format="json")
    assert answer.status_code == 201
    consent = Consent.objects.get()
    granted_at = datetime.fromisoformat(answer.json()["granted_at"])
    rest = {"text_sha256": "", "granted_at": answer.json()["granted_at"], "withdrawn_at": None}
    assert answer.json() == AGREED | rest
    assert granted_at == consent.granted_at and timezone.now() - granted_at < timedelta(minutes=1)
    assert {name: getattr(consent, name) for name in AGREED} == AGREED
    assert consent.granted_by == "a-teller"
    assert AuditEvent.objects.get(action="consent.given").after == {
        "state": "PENDING",
        "text_version": "2026-09",
        "text_sha256": "",
    }


def test_where_it_was_given_may_be_called_its_channel(teller: APIClient) -> None:
    new_customer("ann")
    named = {("channel" if name == "origin" else name): value for name, value in AGREED.items()}
    assert teller.post(consent_of("ann"), named, format="json").json()["origin"] == "branch"
    new_customer("bob")
    assert teller.post(consent_of("bob"), AGREED | {"channel": "phone"}, format="json").status_code == 400
    assert Consent.objects.count() == 1


def test_the_same_version_again_is_refused(teller: APIClient) -> None:
    consenting_customer("ann")
    answer = teller.post(consent_of("ann"), AGREED, format="json")
    assert (answer.status_code, error_code(answer)) == (409, "consent_exists")


def test_a_new_version_of_the_text_replaces_the_old_one_and_keeps_its_record(teller: APIClient) -> None:
    consenting_customer("ann")
    assert teller.post(consent_of("ann"), AGREED | {"text_version": "2027-01"}, format="json").status_code == 201
    new, old = Consent.objects.order_by("-granted_at")
    assert (new.text_version, new.withdrawn_at) == ("2027-01", None)
    assert old.text_version == "2026-09" and old.withdrawn_at is not None


@pytest.mark.parametrize(
    "content",
    [
        {},
        AGREED | {"purpose": "marketing"},
        AGREED | {"text_version": ""},
        AGREED | {"origin": "x" * 33},
        AGREED | {"granted_at": "2020-01-01"},
    ],
)
def test_bad_content_records_nothing(teller: APIClient, content: dict[str, Any]) -> None:
    new_customer("ann")
    answer = teller.post(consent_of("ann"), content, format="json")
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert not Consent.objects.exists()


def test_consent_of_an_unknown_customer_is_not_found(teller: APIClient) -> None:
    assert error_code(teller.post(consent_of("nobody"), AGREED, format="json")) == "customer_not_found"


def test_an_opt_out_before_there_is_a_customer_leaves_a_tombstone_and_no_voice(
    teller: APIClient, worker: StandInWorker
) -> None:
    erasure = teller.delete(consent_of("ann"))
    assert (erasure.status_code, erasure.json()["counts"]["samples"]) == (202, 0)
    assert Customer.objects.get().state == "OPTED_OUT"
    assert error_code(teller.post("/api/v1/customers", {"customer_id": "ann"}, format="json")) == "customer_exists"
    audio = {"audio": upload(recording("ann"))}
    assert error_code(teller.post("/api/v1/customers/ann/enrollments", audio)) == "opted_out"
    assert teller.post(consent_of("ann"), AGREED, format="json").status_code == 201
    assert Customer.objects.get().state == "PENDING"


@pytest.mark.parametrize("role", ["ivr", "reviewer", "admin"])
def test_only_a_teller_records_and_withdraws(role: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(role)
    consenting_customer("ann")
    assert client.post(consent_of("ann"), AGREED | {"text_version": "2"}, format="json").status_code == 403
    assert client.delete(consent_of("ann")).status_code == 403
    assert Consent.objects.get().withdrawn_at is None


def test_another_customers_consent_does_not_count(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    new_customer("bob")
    answer = teller.post("/api/v1/customers/bob/enrollments", {"audio": upload(recording("bob"))})
    assert (answer.status_code, error_code(answer)) == (409, "consent_required")
    assert worker.calls == []


def test_a_withdrawal_erases_every_recording_and_voiceprint_and_keeps_the_consents_record(
    teller: APIClient, worker: StandInWorker
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    verification.verify(customer_id="ann", audio=recording("ann", take=5), actor=IVR)

    answer = teller.delete(consent_of("ann"), {"purpose": "voice_authentication", "origin": "phone"}, format="json")

    assert answer.status_code == 202
    assert answer.json()["counts"] == {"samples": 1, "voiceprints": 1, "call_recordings": 1}
    for model in (AudioSample, SealedAudio, SampleEmbedding, Voiceprint, CallAudio):
        assert not model.objects.exists()
    now = Customer.objects.get()
    assert (now.pk, now.state, now.speech_seconds, now.enrolled_at) == (ann.pk, "OPTED_OUT", 0.0, None)
    assert bytes(now.data_key) != bytes(ann.data_key)
    assert Consent.objects.get().withdrawn_at is not None
    event = AuditEvent.objects.get(action="consent.withdrawn")
    assert event.data["origin"] == "phone" and event.before == {"state": "ENROLLED", "speech_seconds": 30}


def test_a_withdrawal_needs_no_body(teller: APIClient) -> None:
    consenting_customer("ann")
    assert teller.delete(consent_of("ann")).status_code == 202
    assert Customer.objects.get().state == "OPTED_OUT"


def test_the_fields_of_a_withdrawal_may_come_in_the_query(teller: APIClient) -> None:
    consenting_customer("ann")
    assert error_code(teller.delete(consent_of("ann") + "?purpose=marketing")) == "validation_error"
    assert teller.delete(consent_of("ann") + "?purpose=voice_authentication&origin=app").status_code == 202
    assert AuditEvent.objects.get(action="consent.withdrawn").data["origin"] == "app"


def test_an_opt_out_works_before_any_consent(teller: APIClient) -> None:
    new_customer("ann")
    assert teller.delete(consent_of("ann")).status_code == 202
    assert Customer.objects.get().state == "OPTED_OUT"


def test_who_has_opted_out_is_not_enrolled_until_a_new_consent(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    teller.delete(consent_of("ann"))
    path = "/api/v1/customers/ann/enrollments"
    assert error_code(teller.post(path, {"audio": upload(recording("ann"))})) == "opted_out"
    assert teller.post(consent_of("ann"), AGREED, format="json").status_code == 201
    assert Customer.objects.get().state == "PENDING"
    assert teller.post(path, {"audio": upload(recording("ann"))}).status_code == 201


def test_who_has_opted_out_is_not_verified(teller: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    teller.delete(consent_of("ann"))
    decision = verification.verify(customer_id="ann", audio=recording("ann"), actor=IVR)
    assert decision.decision == "SPEAKER_OPTED_OUT" and decision.probability is None
