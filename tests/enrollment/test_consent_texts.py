"""The texts that customers agree to, and the proof of what a customer was shown."""

import hashlib

import pytest
from django.db import DatabaseError, transaction
from pytest_django import Settings
from rest_framework.test import APIClient

from enrollment.models import Consent, ConsentText
from tests.enrollment.test_consent_api import AGREED, consent_of, new_customer
from tests.support.clients import error_code
from tests.support.customers import consenting_customer
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db
TEXT = "I agree that my voice is recorded.  \r\nÜberall, jederzeit.\n"
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()
TEXTS = "/api/v1/consent-texts"


@pytest.fixture
def stored(admin: APIClient) -> None:
    assert admin.post(TEXTS, {"version": "2026-09", "text": TEXT}, format="json").status_code == 201


def test_a_text_is_stored_as_it_is_with_its_hash(admin: APIClient, teller: APIClient, stored: None) -> None:
    shown = teller.get(f"{TEXTS}/2026-09").json()
    assert (shown["text"], shown["sha256"], shown["created_by"]) == (TEXT, SHA256, "an-admin")
    assert [each["version"] for each in teller.get(TEXTS).json()["results"]] == ["2026-09"]
    event = AuditEvent.objects.get(action="consent_text.stored")
    assert (event.target, event.after) == ("consent_text:2026-09", {"text_sha256": SHA256})


def test_a_file_may_be_sent_as_a_form(admin: APIClient) -> None:
    assert admin.post(TEXTS, {"version": "2", "text": TEXT}, format="multipart").json()["sha256"] == SHA256


def test_a_stored_text_never_changes(admin: APIClient, stored: None) -> None:
    again = admin.post(TEXTS, {"version": "2026-09", "text": "another"}, format="json")
    assert (again.status_code, error_code(again)) == (409, "consent_text_exists")
    for method in ("put", "patch", "delete"):
        assert getattr(admin, method)(f"{TEXTS}/2026-09").status_code == 405
    for change in (lambda: ConsentText.objects.update(text="another"), lambda: ConsentText.objects.all().delete()):
        with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
            change()
    assert ConsentText.objects.get().text == TEXT


@pytest.mark.parametrize("role", ["teller", "reviewer", "auditor"])
def test_only_an_administrator_stores_texts(role: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(role)
    assert client.post(TEXTS, {"version": "2", "text": TEXT}, format="json").status_code == 403
    assert client.get(TEXTS).status_code == 200


@pytest.mark.parametrize(
    "content", [{"version": "a/b", "text": "x"}, {"version": "2", "text": ""}, {"version": "2", "text": "x" * 50_001}]
)
def test_what_is_no_text_is_refused(admin: APIClient, content: dict[str, str]) -> None:
    assert error_code(admin.post(TEXTS, content, format="json")) == "validation_error"


def test_an_unknown_text_is_named(teller: APIClient) -> None:
    answer = teller.get(f"{TEXTS}/2025-01")
    assert (answer.status_code, error_code(answer)) == (404, "consent_text_not_found")
    assert "2025-01" in answer.json()["error"]["message"]


def test_a_consent_keeps_the_hash_of_the_text_and_is_exported_with_it(teller: APIClient, stored: None) -> None:
    new_customer("ann")
    given = teller.post(consent_of("ann"), AGREED | {"text_sha256": SHA256}, format="json")
    assert (given.status_code, given.json()["text_sha256"]) == (201, SHA256)
    event = AuditEvent.objects.get(action="consent.given")
    assert event.after is not None and event.after["text_sha256"] == SHA256
    teller.delete(consent_of("ann"))
    proof = teller.get(consent_of("ann")).json()
    assert (proof["customer_id"], proof["state"]) == ("ann", "OPTED_OUT")
    (consent,) = proof["consents"]
    assert (consent["text"], consent["granted_by"], consent["origin"]) == (TEXT, "a-teller", "branch")
    assert hashlib.sha256(consent["text"].encode()).hexdigest() == consent["text_sha256"]
    assert consent["withdrawn_at"] is not None


def test_who_was_shown_another_text_has_not_agreed(teller: APIClient, stored: None) -> None:
    new_customer("ann")
    answer = teller.post(consent_of("ann"), AGREED | {"text_sha256": "0" * 64}, format="json")
    assert (answer.status_code, error_code(answer)) == (409, "consent_text_differs")
    assert answer.json()["error"]["data"]["sha256"] == SHA256
    unknown = teller.post(consent_of("ann"), AGREED | {"text_version": "1", "text_sha256": SHA256}, format="json")
    assert error_code(unknown) == "consent_text_not_found"
    assert not Consent.objects.exists()


def test_a_text_that_is_stored_later_proves_nothing_of_earlier_consents(teller: APIClient, admin: APIClient) -> None:
    consenting_customer("ann")
    admin.post(TEXTS, {"version": "2026-09", "text": TEXT}, format="json")
    (consent,) = teller.get(consent_of("ann")).json()["consents"]
    assert (consent["text_version"], consent["text_sha256"], consent["text"]) == ("2026-09", "", None)


def test_a_bank_may_ask_that_every_consent_names_a_stored_text(teller: APIClient, settings: Settings) -> None:
    settings.VOICEAUTH_REQUIRE_CONSENT_TEXT = True
    new_customer("ann")
    assert error_code(teller.post(consent_of("ann"), AGREED, format="json")) == "consent_text_not_found"
    trial = AGREED | {"purpose": "trial"}  # its text is a part of the page
    assert teller.post(consent_of("ann"), trial, format="json").status_code == 201
