"""Decisions over HTTP, for the reviewer."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from tests.support.clients import error_code, upload
from tests.support.customers import IVR, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.api.models import IdempotentRequest
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification import services, tasks
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db
DECISIONS = "/api/v1/decisions"


@pytest.fixture
def calls(worker: StandInWorker) -> list[Decision]:
    """Ann verified and refused, Bob identified: the latest last."""
    activate_model()
    enrolled_customer("ann")
    enrolled_customer("bob")
    return [
        services.verify(customer_id="ann", audio=recording("ann"), actor=IVR),
        services.verify(customer_id="ann", audio=recording("bob"), actor=IVR),
        services.identify(audio=recording("bob"), actor=IVR),
    ]


def test_a_decision_tells_all_that_it_rested_on(reviewer: APIClient, calls: list[Decision]) -> None:
    said = reviewer.get(f"{DECISIONS}/{calls[0].pk}").json()
    assert said["decision_id"] == str(calls[0].pk)
    assert (said["kind"], said["decision"], said["customer_id"], said["actor"]) == ("verify", "ACCEPT", "ann", "ivr-1")
    assert said["probability"] == pytest.approx(calls[0].probability, abs=1e-6)  # rounded for people
    assert said["score"] == pytest.approx(calls[0].score, rel=1e-3)
    assert said["model"]["version"] == "first" and said["snr_db"] == 25.0
    assert said["scoring_milliseconds"] > 0


def test_an_identification_keeps_its_candidates(reviewer: APIClient, calls: list[Decision]) -> None:
    said = reviewer.get(f"{DECISIONS}/{calls[2].pk}").json()
    assert [each["customer_id"] for each in said["candidates"]] == ["bob", "ann"]


def test_the_latest_decision_comes_first(reviewer: APIClient, calls: list[Decision]) -> None:
    page = reviewer.get(DECISIONS).json()
    assert [each["decision_id"] for each in page["results"]] == [str(each.pk) for each in reversed(calls)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"customer_id": "ann"}, [1, 0]),
        ({"customer_id": "an"}, []),
        ({"decision": "REJECT"}, [1]),
        ({"kind": "identify"}, [2]),
        ({"model_version": "first"}, [2, 1, 0]),
        ({"model_version": "second"}, []),
        ({"customer_id": "ann", "decision": "ACCEPT"}, [0]),
    ],
)
def test_the_list_can_be_filtered(
    reviewer: APIClient, calls: list[Decision], query: dict[str, str], expected: list[int]
) -> None:
    page = reviewer.get(DECISIONS, query).json()
    assert [each["decision_id"] for each in page["results"]] == [str(calls[number].pk) for number in expected]


def test_the_list_can_be_filtered_by_time(reviewer: APIClient, calls: list[Decision]) -> None:
    Decision.objects.filter(pk=calls[0].pk).update(created_at=timezone.now() - timedelta(days=2))
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()
    assert reviewer.get(DECISIONS, {"created_after": yesterday}).json()["count"] == 2
    before = reviewer.get(DECISIONS, {"created_before": yesterday}).json()
    assert [each["decision_id"] for each in before["results"]] == [str(calls[0].pk)]


@pytest.mark.parametrize("query", [{"decision": "MAYBE"}, {"created_after": "yesterday"}, {"customer": "ann"}])
def test_a_filter_that_means_nothing_is_refused(reviewer: APIClient, query: dict[str, str]) -> None:
    answer = reviewer.get(DECISIONS, query)
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")


def test_a_longer_list_takes_no_more_queries(reviewer: APIClient, calls: list[Decision]) -> None:
    reviewer.get(DECISIONS)  # notes the token's use
    with CaptureQueriesContext(connection) as few:
        reviewer.get(DECISIONS)
    for _ in range(8):
        services.verify(customer_id="ann", audio=recording("ann"), actor=IVR)
    with CaptureQueriesContext(connection) as many:
        assert reviewer.get(DECISIONS).json()["count"] == 11
    assert len(few) == len(many)


@pytest.mark.parametrize("role", ["teller", "ivr"])
def test_who_enrolls_or_calls_reads_no_decisions(
    role: str, request: pytest.FixtureRequest, calls: list[Decision]
) -> None:
    client = request.getfixturevalue(role)
    assert client.get(DECISIONS).status_code == client.get(f"{DECISIONS}/{calls[0].pk}").status_code == 403


def test_an_unknown_decision_is_not_found(reviewer: APIClient) -> None:
    answer = reviewer.get(f"{DECISIONS}/{uuid.uuid4()}")
    assert (answer.status_code, error_code(answer)) == (404, "decision_not_found")


def test_a_decision_cannot_be_changed_or_removed(reviewer: APIClient, calls: list[Decision]) -> None:
    path = f"{DECISIONS}/{calls[0].pk}"
    assert reviewer.delete(path).status_code == reviewer.put(path, {}, format="json").status_code == 405


def test_the_purge_removes_expired_calls_and_old_answers_and_nothing_else(
    ivr: APIClient, calls: list[Decision]
) -> None:
    expired, kept = CallAudio.objects.order_by("decision__created_at")
    CallAudio.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for key in ("old", "new"):
        ivr.post(
            "/api/v1/verify", {"customer_id": "nobody", "audio": upload(recording("ann"))}, HTTP_IDEMPOTENCY_KEY=key
        )
    IdempotentRequest.objects.filter(key="old").update(created_at=timezone.now() - timedelta(hours=25))

    tasks.purge_expired()

    assert [answer.key for answer in IdempotentRequest.objects.all()] == ["new"]
    assert CallAudio.objects.get() == kept and Decision.objects.count() == 5
    assert AuditEvent.objects.get(action="call_audio.purged").data == {"count": 1}
    tasks.purge_expired()
    assert AuditEvent.objects.filter(action="call_audio.purged").count() == 1
