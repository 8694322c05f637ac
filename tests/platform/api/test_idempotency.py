"""A repeated POST gets the first answer again; nothing is created twice."""

import threading
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from tests.factories import api_client
from tests.mltraining.workers import until
from tests.platform.api.edge import Clients
from voiceauth.platform.api.idempotency import purge_answers
from voiceauth.platform.api.models import ApiClient, IdempotentAnswer
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.urls("tests.platform.api.edge")


def create(client: APIClient, key: str | None, **content: object):
    headers = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return client.post("/api/v1/clients", content, format="json", **headers)


def test_a_repeat_gets_the_same_answer_and_creates_nothing(teller):
    first = create(teller, "k1", name="x")
    again = create(teller, "k1", name="x")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Content-Type"] == first["Content-Type"]
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert ApiClient.objects.filter(name="x").count() == 1
    assert AuditEvent.objects.filter(action="client.created", actor=teller.api_client.name).count() == 1


def test_the_order_of_keys_in_the_body_does_not_matter(teller):
    first = teller.generic(
        "POST", "/api/v1/clients", '{"name":"x","fail":false}', "application/json", HTTP_IDEMPOTENCY_KEY="k"
    )
    again = teller.generic(
        "POST", "/api/v1/clients", '{"fail": false, "name": "x"}', "application/json", HTTP_IDEMPOTENCY_KEY="k"
    )
    assert again.content == first.content


def test_without_the_header_nothing_is_kept(teller):
    assert create(teller, None, name="x").status_code == 201
    assert create(teller, None, name="x").status_code == 409
    assert not IdempotentAnswer.objects.exists()


def test_the_same_key_with_other_content_is_refused(teller):
    create(teller, "k1", name="x")
    response = create(teller, "k1", name="y")
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_key_reused"
    assert not ApiClient.objects.filter(name="y").exists()


def test_keys_belong_to_their_client(teller):
    other = api_client("teller")
    create(teller, "k1", name="x")
    assert create(other, "k1", name="y").status_code == 201
    assert create(other, "k1", name="y")["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("content", [{"name": "x", "fail": True}, {}, {"name": "x", "unknown": 1}])
def test_a_refusal_keeps_nothing_and_frees_the_key(teller, content):
    assert create(teller, "k1", **content).status_code in {400, 409}
    assert not ApiClient.objects.filter(name="x").exists()
    assert not IdempotentAnswer.objects.exists()
    assert create(teller, "k1", name="x").status_code == 201


def test_a_refusal_inside_is_recorded_although_all_is_rolled_back(teller):
    create(teller, "k1", name="x", fail=True)
    assert AuditEvent.objects.first().data["code"] == "conflict"


def test_a_role_that_may_not_create_may_not_replay_either(teller):
    create(teller, "k1", name="x")
    ApiClient.objects.filter(pk=teller.api_client.pk).update(role="ivr")
    assert create(teller, "k1", name="x").status_code == 403


@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 256, "\x7f"])
def test_a_key_that_is_none_is_refused(teller, key):
    response = create(teller, key, name="x")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_idempotency_key")


def test_uploads_are_compared_by_the_bytes_of_the_file(teller):
    def send(content: bytes):
        audio = SimpleUploadedFile("a.wav", content)
        return teller.post("/api/v1/idempotent-uploads", {"audio": audio}, HTTP_IDEMPOTENCY_KEY="k1")

    assert send(b"voice").json() == {"bytes": 5}
    assert send(b"voice")["Idempotent-Replayed"] == "true"
    assert send(b"other").status_code == 422


def test_answers_are_sealed(teller):
    answer = create(teller, "k1", name="x").json()
    stored = IdempotentAnswer.objects.get()
    assert answer["id"].encode() not in bytes(stored.body)


def test_answers_are_forgotten_after_a_day(teller):
    create(teller, "old", name="x")
    IdempotentAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    create(teller, "new", name="y")
    assert purge_answers() == 1
    assert IdempotentAnswer.objects.get().key == "new"


@pytest.mark.parametrize("fail", [False, True])
def test_a_concurrent_repeat_waits_for_the_first(transactional_db, monkeypatch, fail):
    """It replays a success; where the first one is refused, it takes its place."""
    teller = api_client("teller")
    gate = threading.Event()
    monkeypatch.setattr(Clients, "gate", gate)
    monkeypatch.setattr(Clients, "inside", threading.Event())
    answers: list = []

    def send(**content: object) -> None:
        try:
            client = APIClient()
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {teller.token}")
            answers.append(create(client, "k1", **content))
        finally:
            connection.close()

    content = {"name": "x", "fail": fail}
    first = threading.Thread(target=send, kwargs=content)
    first.start()
    assert Clients.inside.wait(timeout=30)
    second = threading.Thread(target=send, kwargs=content)
    second.start()
    until(_somebody_waits_for_a_lock)
    gate.set()
    first.join(timeout=30)
    second.join(timeout=30)
    expected = 409 if fail else 201
    assert [answer.status_code for answer in answers] == [expected, expected]
    assert sum("Idempotent-Replayed" in answer for answer in answers) == (0 if fail else 1)
    assert ApiClient.objects.filter(name="x").count() == (0 if fail else 1)


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0
