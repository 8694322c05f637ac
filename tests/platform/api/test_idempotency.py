"""A repeated POST gets the first answer again; nothing is created twice."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from tests.support.clients import SignedIn, api_client
from tests.support.edge import Clients
from tests.support.trail import newest_event
from voiceauth.platform.api import idempotency
from voiceauth.platform.api.idempotency import purge_answers
from voiceauth.platform.api.models import ApiClient, IdempotentRequest
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.urls("tests.support.edge")


def create(client: APIClient, key: str | None, **content: object) -> Response:
    headers = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return client.post("/api/v1/clients", content, format="json", **headers)


def test_a_repeat_gets_the_same_answer_and_creates_nothing(teller: APIClient) -> None:
    first = create(teller, "k1", name="x")
    again = create(teller, "k1", name="x")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Content-Type"] == first["Content-Type"]
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert ApiClient.objects.filter(name="x").count() == 1
    assert AuditEvent.objects.filter(action="client.created", actor=teller.api_client.name).count() == 1


def test_the_order_of_keys_in_the_body_does_not_matter(teller: APIClient) -> None:
    first = teller.generic(
        "POST", "/api/v1/clients", '{"name":"x","fail":false}', "application/json", HTTP_IDEMPOTENCY_KEY="k"
    )
    again = teller.generic(
        "POST", "/api/v1/clients", '{"fail": false, "name": "x"}', "application/json", HTTP_IDEMPOTENCY_KEY="k"
    )
    assert again.content == first.content


def test_without_the_header_nothing_is_kept(teller: APIClient) -> None:
    assert create(teller, None, name="x").status_code == 201
    assert create(teller, None, name="x").status_code == 409
    assert not IdempotentRequest.objects.exists()


def test_the_same_key_with_other_content_is_refused(teller: APIClient) -> None:
    create(teller, "k1", name="x")
    response = create(teller, "k1", name="y")
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_key_reused"
    assert not ApiClient.objects.filter(name="y").exists()


def test_keys_belong_to_their_client(teller: APIClient) -> None:
    other = api_client("teller")
    create(teller, "k1", name="x")
    assert create(other, "k1", name="y").status_code == 201
    assert create(other, "k1", name="y")["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("content", [{"name": "x", "fail": True}, {}, {"name": "x", "unknown": 1}])
def test_a_refusal_keeps_nothing_and_frees_the_key(teller: APIClient, content: Any) -> None:
    assert create(teller, "k1", **content).status_code in {400, 409}
    assert not ApiClient.objects.filter(name="x").exists()
    assert not IdempotentRequest.objects.exists()
    assert create(teller, "k1", name="x").status_code == 201


def test_a_refusal_inside_is_recorded_although_all_is_rolled_back(teller: APIClient) -> None:
    create(teller, "k1", name="x", fail=True)
    assert newest_event().data["code"] == "conflict"


def test_a_role_that_may_not_create_may_not_replay_either(teller: APIClient) -> None:
    create(teller, "k1", name="x")
    ApiClient.objects.filter(pk=teller.api_client.pk).update(role="ivr")
    assert create(teller, "k1", name="x").status_code == 403


@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 256, "\x7f"])
def test_an_invalid_key_is_refused(teller: APIClient, key: str) -> None:
    response = create(teller, key, name="x")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_idempotency_key")


def test_uploads_are_compared_by_the_bytes_of_the_file(teller: APIClient) -> Any:
    def send(content: bytes) -> Response:
        audio = SimpleUploadedFile("a.wav", content)
        return teller.post("/api/v1/idempotent-uploads", {"audio": audio}, HTTP_IDEMPOTENCY_KEY="k1")

    assert send(b"voice").json() == {"bytes": 5}
    assert send(b"voice")["Idempotent-Replayed"] == "true"
    assert send(b"other").status_code == 422


def test_answers_are_sealed(teller: APIClient) -> None:
    answer = create(teller, "k1", name="x").json()
    stored = IdempotentRequest.objects.get()
    assert answer["id"].encode() not in bytes(stored.body)


def test_answers_are_forgotten_after_a_day(teller: APIClient) -> None:
    create(teller, "old", name="x")
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    create(teller, "new", name="y")
    assert purge_answers() == 1
    assert IdempotentRequest.objects.get().key == "new"


def in_a_thread(act: Callable[[], object]) -> threading.Thread:
    """``act`` in a thread with a database connection of its own."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator["Gate"]:
    """Holds the first request between its reservation and its creation until ``release``."""
    gate = Gate()
    monkeypatch.setattr(Clients, "before", staticmethod(gate))
    yield gate
    gate.open.set()


class Gate:
    def __init__(self) -> None:
        self.inside, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.inside.is_set():
            self.inside.set()
            self.open.wait(timeout=30)


@pytest.mark.usefixtures("transactional_db")
def test_a_repeat_while_the_first_runs_is_told_to_come_back(gate: Gate) -> None:
    teller, answers = api_client("teller"), []
    first = in_a_thread(lambda: answers.append(create(client_with(teller.token), "k1", name="x")))
    assert gate.inside.wait(timeout=30)
    again = create(teller, "k1", name="x")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert again["Retry-After"] == "1"
    gate.open.set()
    first.join(timeout=30)
    assert answers[0].status_code == 201
    assert create(teller, "k1", name="x").content == answers[0].content
    assert ApiClient.objects.filter(name="x").count() == 1


@pytest.mark.usefixtures("transactional_db")
def test_an_attempt_that_lost_its_reservation_commits_nothing(gate: Gate) -> None:
    teller, answers = api_client("teller"), []
    slow = in_a_thread(lambda: answers.append(create(client_with(teller.token), "k1", name="x")))
    assert gate.inside.wait(timeout=30)
    expire_reservations()
    second = create(teller, "k1", name="x")
    ApiClient.objects.filter(name="x").update(name="renamed")  # so that no unique name stops the slow one
    gate.open.set()
    slow.join(timeout=30)
    assert second.status_code == 201
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert not ApiClient.objects.filter(name="x").exists()
    assert create(teller, "k1", name="x").content == second.content


@pytest.mark.usefixtures("transactional_db")
def test_no_transaction_is_open_while_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(Clients, "before", staticmethod(lambda: seen.append(connection.in_atomic_block)))
    assert create(api_client("teller"), "k1", name="x").status_code == 201
    assert seen == [False]


class Crash(BaseException):
    """The process ends here."""


def crash(*args: object) -> None:
    raise Crash


@pytest.mark.usefixtures("transactional_db")
def test_after_a_crash_before_the_commit_the_reservation_expires_and_a_repeat_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teller = api_client("teller")
    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(Clients, "before", staticmethod(crash))
        create(teller, "k1", name="x")
    assert create(teller, "k1", name="x").json()["error"]["code"] == "idempotency_key_in_use"
    expire_reservations()
    assert create(teller, "k1", name="x").status_code == 201


@pytest.mark.parametrize(("path", "status"), [("clients", 409), ("recalling-clients", 201)])
@pytest.mark.usefixtures("transactional_db")
def test_after_a_crash_behind_the_commit_a_repeat_finds_what_was_created(
    monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    teller = api_client("teller")

    def send() -> Response:
        return teller.post(f"/api/v1/{path}", {"name": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="k1")

    with monkeypatch.context() as patched, pytest.raises(Crash):
        patched.setattr(idempotency, "_settle", crash)
        send()
    created = ApiClient.objects.get(name="x")
    expire_reservations()
    again = send()
    assert again.status_code == status
    if status == 201:
        assert (again.json()["id"], again["Idempotent-Replayed"]) == (str(created.pk), "true")
    else:
        error = again.json()["error"]
        assert (error["code"], error["data"]) == ("answer_lost", {"result": f"client:{created.pk}"})


def test_an_answer_that_cannot_be_stored_is_given_all_the_same(
    teller: SignedIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> bytes:
        raise OperationalError("hunter2")

    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "_seal", broken)
        assert create(teller, "k1", name="x").status_code == 201
    assert "could not be stored" in caplog.text
    assert "hunter2" not in caplog.text


def expire_reservations() -> None:
    IdempotentRequest.objects.update(reserved_until=timezone.now() - timedelta(seconds=1))


def client_with(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client
