"""Watchlists over HTTP: who is on them, from where, and how they go."""

from typing import Any
from uuid import uuid4

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from tests.support.clients import api_client, error_code, upload
from tests.support.customers import TELLER, enrolled_customer
from tests.support.fraudsters import default, screened, watched
from tests.support.model import activate_model
from tests.support.stand_in import recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.screening.models import Fraudster, Watchlist
from voiceauth.verification import services as verification
from voiceauth.verification.models import CallAudio

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]
LISTS = "/api/v1/watchlists"


@pytest.fixture(autouse=True)
def _model() -> None:
    activate_model()


def fraudsters_of(watchlist: Watchlist) -> str:
    return f"{LISTS}/{watchlist.pk}/fraudsters"


def put(client: APIClient, watchlist: Watchlist, **fields: Any) -> Response:
    return client.post(fraudsters_of(watchlist), fields, format="multipart")


def further(client: APIClient, name: str = "card gang") -> Watchlist:
    answer = client.post(LISTS, {"name": name}, format="json")
    assert answer.status_code == 201
    return Watchlist.objects.get(pk=answer.json()["watchlist_id"])


def test_the_default_watchlist_is_there_and_cannot_be_deleted(reviewer: APIClient) -> None:
    (only,) = reviewer.get(LISTS).json()["results"]
    assert (only["is_default"], only["fraudster_count"]) == (True, 0)
    answer = reviewer.delete(f"{LISTS}/{only['watchlist_id']}?reason=tidy")
    assert (answer.status_code, error_code(answer)) == (409, "default_watchlist")
    assert Watchlist.objects.count() == 1


def test_a_watchlist_is_deleted_only_once_a_second_person_has_approved_and_then_its_own_voices_are_erased(
    db: None,
) -> None:
    reviewer, admin = api_client("reviewer"), api_client("admin")
    gang = further(reviewer)
    mine, shared = watched("mallory", watchlist_id=gang.pk), watched("trudy")
    shared.watchlists.add(gang)
    asked = reviewer.delete(f"{LISTS}/{gang.pk}?reason=over")
    assert asked.status_code == 202 and Watchlist.objects.filter(pk=gang.pk).exists()
    path = f"/api/v1/approvals/{asked.json()['id']}/approve"
    assert error_code(reviewer.post(path)) == "second_person_required"
    assert admin.post(path).status_code == 200
    assert not Watchlist.objects.filter(pk=gang.pk).exists()
    assert Fraudster.objects.get() == shared
    event = AuditEvent.objects.get(action="watchlist.deleted")
    assert event.data["erased"] == [str(mine.pk)]


def test_a_recording_becomes_a_fraudster_whom_the_next_call_is_recognised_as(reviewer: APIClient) -> None:
    answer = put(reviewer, default(), audio=upload(recording("mallory")), note="voice of the Tuesday calls")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["source"], body["watchlists"]) == ("upload", [str(default().pk)])
    (hit,) = screened("mallory", customer_id="C-1", take=4).hits
    assert hit.fraudster_id == body["fraudster_id"]
    (listed,) = reviewer.get(fraudsters_of(default())).json()["results"]
    assert listed == body
    assert AuditEvent.objects.get(action="fraudster.added").data["source"] == "upload"


def test_the_audio_of_a_decision_becomes_a_fraudster(reviewer: APIClient) -> None:
    enrolled_customer("ann")
    decision = verification.verify(customer_id="ann", audio=recording("mallory"), actor=TELLER)
    answer = put(reviewer, default(), decision_id=str(decision.pk))
    assert answer.status_code == 201 and answer.json()["source"] == f"decision:{decision.pk}"
    assert screened("mallory", customer_id="C-1", take=2).hits
    CallAudio.objects.all().delete()
    assert error_code(put(reviewer, default(), decision_id=str(decision.pk))) == "no_audio"
    assert error_code(put(reviewer, default(), decision_id=str(uuid4()))) == "decision_not_found"


def test_a_voice_that_is_known_is_recognised_as_a_duplicate_and_may_go_on_a_further_watchlist(
    reviewer: APIClient,
) -> None:
    known = watched("mallory")
    again = {"audio": upload(recording("mallory", take=3))}
    answer = put(reviewer, default(), **again)
    assert (answer.status_code, error_code(answer)) == (409, "duplicate_fraudster")
    assert answer.json()["error"]["data"]["fraudster_id"] == str(known.pk)
    gang = further(reviewer)
    assert put(reviewer, gang, fraudster_id=str(known.pk)).status_code == 201
    assert set(known.watchlists.all()) == {default(), gang} and Fraudster.objects.count() == 1
    twin = {"audio": upload(recording("mallory", take=3)), "another_person": "true"}
    assert put(reviewer, default(), **twin).status_code == 201


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "validation_error"),
        ({"audio": b"noise", "decision_id": str(uuid4())}, "validation_error"),
        ({"audio": b"noise"}, "not_audio"),
        ({"audio": recording("mallory", speech_seconds=0.3)}, "not_enough_speech"),
        ({"fraudster_id": str(uuid4())}, "fraudster_not_found"),
    ],
)
def test_what_is_no_voice_goes_on_no_watchlist(reviewer: APIClient, fields: dict[str, Any], code: str) -> None:
    fields = {name: upload(value) if name == "audio" else value for name, value in fields.items()}
    assert error_code(put(reviewer, default(), **fields)) == code
    assert not Fraudster.objects.exists()


def test_without_a_model_a_fraudster_waits_for_one(reviewer: APIClient) -> None:
    from mltraining.models import ModelVersion

    ModelVersion.objects.all().delete()
    assert put(reviewer, default(), audio=upload(recording("mallory"))).status_code == 201
    assert not Fraudster.objects.get().voiceprints.exists()


def test_erasing_a_fraudster_answers_an_erasure_to_follow(reviewer: APIClient) -> None:
    fraudster = watched("mallory")
    answer = reviewer.delete(f"/api/v1/fraudsters/{fraudster.pk}")
    assert answer.status_code == 202
    assert (answer.json()["counts"], answer.json()["receipt"]) == ({"recordings": 1, "voiceprints": 1}, None)
    assert error_code(reviewer.delete(f"/api/v1/fraudsters/{fraudster.pk}")) == "fraudster_not_found"


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("reviewer", 200, 201), ("admin", 200, 201), ("auditor", 200, 403), ("teller", 403, 403), ("ivr", 403, 403)],
)
def test_reviewers_and_administrators_keep_watchlists_and_auditors_read_them(
    role: str, reads: int, writes: int
) -> None:
    client = api_client(role)
    assert client.get(LISTS).status_code == client.get(fraudsters_of(default())).status_code == reads
    assert client.post(LISTS, {"name": "x"}, format="json").status_code == writes
    assert put(client, default(), audio=upload(recording("mallory"))).status_code == writes


def test_a_watchlist_of_the_same_name_is_refused(reviewer: APIClient) -> None:
    further(reviewer)
    assert error_code(reviewer.post(LISTS, {"name": "card gang"}, format="json")) == "watchlist_exists"
