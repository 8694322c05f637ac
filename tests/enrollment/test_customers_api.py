"""Customers over HTTP."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from enrollment.gallery import Gallery
from enrollment.models import Customer, SealedAudio, Voiceprint
from tests.support.clients import error_code
from tests.support.customers import IVR, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import DIMENSIONS, StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification import services as verification
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db
CUSTOMERS = "/api/v1/customers"


def test_a_new_customer_is_pending_and_told_what_remains(teller: APIClient) -> None:
    answer = teller.post(CUSTOMERS, {"customer_id": "C-1", "display_name": "Ann"}, format="json")
    assert answer.status_code == 201
    assert answer.json() | {"created_at": None} == {
        "customer_id": "C-1",
        "display_name": "Ann",
        "state": "PENDING",
        "speech_seconds": 0.0,
        "remaining_seconds": 20.0,
        "confirmed_calls": 0,
        "consents": [],
        "created_at": None,
        "enrolled_at": None,
        "last_accessed_at": None,
    }
    event = AuditEvent.objects.get(action="customer.created")
    assert (event.customer_id, event.actor, event.role) == ("C-1", "a-teller", "teller")


def test_a_second_customer_of_the_same_identifier_is_refused(teller: APIClient) -> None:
    teller.post(CUSTOMERS, {"customer_id": "C-1", "display_name": "Ann"}, format="json")
    answer = teller.post(CUSTOMERS, {"customer_id": "C-1", "display_name": "Bob"}, format="json")
    assert (answer.status_code, error_code(answer)) == (409, "customer_exists")
    assert Customer.objects.get().display_name == "Ann"


def test_a_repeat_with_its_idempotency_key_creates_nothing_and_gets_the_first_answer(teller: APIClient) -> None:
    answers = [
        teller.post(CUSTOMERS, {"customer_id": "C-1"}, format="json", HTTP_IDEMPOTENCY_KEY="key-1") for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert AuditEvent.objects.filter(action="customer.created").count() == 1


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"customer_id": ""},
        {"customer_id": "with space"},
        {"customer_id": "C-1\n"},
        {"customer_id": "x" * 65},
        {"customer_id": "C-1", "display_name": "nul\u0000"},
        {"customer_id": "C-1", "state": "ENROLLED"},
        {"customer_id": ["C-1"]},
        [],
    ],
)
def test_bad_content_creates_nothing(teller: APIClient, content: object) -> None:
    answer = teller.post(CUSTOMERS, content, format="json")
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert not Customer.objects.exists()


@pytest.mark.parametrize("role", ["ivr", "reviewer"])
def test_a_role_that_may_not_write_customers_neither_creates_nor_erases(
    role: str, request: pytest.FixtureRequest
) -> None:
    client = request.getfixturevalue(role)
    consenting_customer("C-1")
    refusals = [client.post(CUSTOMERS, {"customer_id": "C-2"}, format="json"), client.delete(f"{CUSTOMERS}/C-1")]
    assert [(each.status_code, error_code(each)) for each in refusals] == [(403, "permission_denied")] * 2
    assert Customer.objects.get().customer_id == "C-1"
    assert AuditEvent.objects.filter(outcome="refused", role=role).count() == 2


def test_without_a_token_nothing_is_told(client: APIClient) -> None:
    answer = APIClient().get(f"{CUSTOMERS}/C-1")
    assert (answer.status_code, error_code(answer)) == (401, "not_authenticated")


def test_a_reviewer_reads_customers_and_an_ivr_does_not(reviewer: APIClient, ivr: APIClient) -> None:
    consenting_customer("C-1")
    assert reviewer.get(CUSTOMERS).json()["count"] == 1
    assert reviewer.get(f"{CUSTOMERS}/C-1").json()["customer_id"] == "C-1"
    assert ivr.get(CUSTOMERS).status_code == ivr.get(f"{CUSTOMERS}/C-1").status_code == 403


def test_a_wrong_method_is_named(teller: APIClient) -> None:
    answer = teller.put(f"{CUSTOMERS}/C-1", {}, format="json")
    assert (answer.status_code, error_code(answer)) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["nobody", "%20", "a%00b", "x" * 65, "C-1/unknown"])
def test_a_customer_that_is_not_there_is_not_found(teller: APIClient, path: str) -> None:
    answer = teller.get(f"{CUSTOMERS}/{path}")
    assert answer.status_code in (400, 404) and "error" in answer.json()


def test_the_list_filters_by_state_and_by_the_beginning_of_the_identifier(teller: APIClient) -> None:
    for customer_id, state in [("A-1", "ENROLLED"), ("A-2", "PENDING"), ("B-A-1", "ENROLLED")]:
        consenting_customer(customer_id)
        Customer.objects.filter(customer_id=customer_id).update(state=state)

    def found(**query: str) -> list[str]:
        return [each["customer_id"] for each in teller.get(CUSTOMERS, query).json()["results"]]

    assert found() == ["A-1", "A-2", "B-A-1"]
    assert found(customer_id="A-") == ["A-1", "A-2"]
    assert found(customer_id="A-", state="ENROLLED") == ["A-1"]
    assert found(customer_id="A_") == []  # no pattern of the caller's


@pytest.mark.parametrize("query", [{"state": "NOWHERE"}, {"name": "Ann"}])
def test_a_filter_that_means_nothing_is_refused(teller: APIClient, query: dict[str, str]) -> None:
    answer = teller.get(CUSTOMERS, query)
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")


def test_the_list_comes_in_pages(teller: APIClient) -> None:
    for number in range(3):
        consenting_customer(f"C-{number}")
    page = teller.get(teller.get(CUSTOMERS, {"page_size": 2}).json()["next"]).json()
    assert page["count"] == 3 and [each["customer_id"] for each in page["results"]] == ["C-2"]
    assert page["next"] is None


def test_a_longer_list_takes_no_more_queries(teller: APIClient) -> None:
    teller.get(CUSTOMERS)  # notes the token's use
    counts = []
    for size in (1, 8):
        for number in range(size):
            consenting_customer(f"C-{size}-{number}")
        with CaptureQueriesContext(connection) as queries:
            teller.get(CUSTOMERS)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_erasure_removes_everything_but_decisions_and_the_trail(teller: APIClient, worker: StandInWorker) -> None:
    model = activate_model()
    enrolled_customer("ann")
    bob = enrolled_customer("bob")
    verification.verify(customer_id="ann", audio=recording("ann", take=5), actor=IVR)
    events_before = AuditEvent.objects.count()

    answer = teller.delete(f"{CUSTOMERS}/ann")

    assert answer.status_code == 202
    erasure = answer.json()
    assert (erasure["customer_id"], erasure["state"], erasure["receipt"]) == ("ann", "QUEUED", None)
    assert erasure["counts"] == {"samples": 1, "voiceprints": 1, "call_recordings": 1}
    tombstone = Customer.objects.get(customer_id="ann")
    assert (tombstone.state, bytes(tombstone.data_key), tombstone.consents.count()) == ("ERASED", b"", 0)
    assert [each["customer_id"] for each in teller.get(CUSTOMERS).json()["results"]] == ["bob"]
    assert SealedAudio.objects.get().sample.customer == bob
    assert Voiceprint.objects.get().customer == bob
    assert not CallAudio.objects.exists()
    index = Gallery(model.fingerprint, DIMENSIONS).current()
    assert index.ids[index.everywhere(index.count)].tolist() == [bob.voiceprints.get().pk]
    assert Decision.objects.get(customer_id="ann").decision == "ACCEPT"
    event = AuditEvent.objects.get(action="customer.erased")
    assert event.target == f"erasure:{erasure['erasure_id']}" and event.data["samples"] == 1
    assert AuditEvent.objects.count() == events_before + 2  # the other one: the job is queued
    assert teller.get(f"{CUSTOMERS}/ann").status_code == 404


def test_an_erased_identifier_may_be_given_again_and_brings_nothing_back(
    teller: APIClient, worker: StandInWorker
) -> None:
    activate_model()
    enrolled_customer("ann")
    teller.delete(f"{CUSTOMERS}/ann")
    teller.post(CUSTOMERS, {"customer_id": "ann"}, format="json")
    again = teller.get(f"{CUSTOMERS}/ann").json()
    assert (again["state"], again["speech_seconds"], again["consents"]) == ("PENDING", 0.0, [])
    decision = verification.verify(customer_id="ann", audio=recording("ann"), actor=IVR)
    assert decision.decision == "SPEAKER_NOT_ENROLLED"
