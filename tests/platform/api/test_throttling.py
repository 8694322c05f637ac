"""Rates of each client, counted in Redis by all processes together."""

import threading
import uuid

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from tests.support.clients import api_client
from voiceauth.platform import redis
from voiceauth.platform.api import throttling
from voiceauth.platform.api.clients import set_rate_limits
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.urls("tests.support.edge")


@pytest.fixture
def three_a_minute(db: None, settings: Settings) -> None:
    settings.VOICEAUTH_RATE_LIMITS = dict.fromkeys(settings.VOICEAUTH_RATE_LIMITS, 3)


def statuses(client: APIClient, count: int) -> list[int]:
    return [client.get("/api/v1/notes").status_code for _ in range(count)]


def test_a_call_too_many_is_throttled_and_told_when_to_come_back(three_a_minute: None) -> None:
    teller = api_client("teller")
    assert statuses(teller, 3) == [200] * 3
    response = teller.get("/api/v1/notes")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["data"]["limit_per_minute"]) == (429, "throttled", 3)
    assert 1 <= int(response["Retry-After"]) <= 20
    assert error["request_id"]


def test_clients_and_classes_are_counted_apart(three_a_minute: None) -> None:
    teller, other = api_client("teller"), api_client("teller")
    assert statuses(teller, 4)[-1] == 429
    assert statuses(other, 1) == [200]
    assert teller.post("/api/v1/notes", {"text": "x"}, format="json").status_code == 201  # a write, not a read


def test_a_client_may_have_rates_of_its_own(three_a_minute: None) -> None:
    teller = api_client("teller", rate_limits={"reads": 5})
    assert statuses(teller, 6) == [200] * 5 + [429]
    set_rate_limits(name=teller.api_client.name, rate_limits={"reads": 100}, actor=SYSTEM)
    assert teller.get("/api/v1/notes")["Retry-After"] == "1"
    assert AuditEvent.objects.get(action="client.rates_changed").after == {"rate_limits": {"reads": 100}}


def test_a_flood_leaves_one_event_a_window_in_the_trail(three_a_minute: None) -> None:
    teller = api_client("teller")
    assert statuses(teller, 30).count(429) >= 25
    refusals = AuditEvent.objects.filter(action="request.refused", actor=teller.api_client.name)
    assert [event.data["code"] for event in refusals] == ["throttled"]


def test_a_flood_of_wrong_tokens_is_throttled_and_a_valid_one_is_taken_from_there(three_a_minute: None) -> None:
    wrong, teller = APIClient(REMOTE_ADDR="198.51.100.9"), api_client("teller")
    wrong.credentials(HTTP_AUTHORIZATION="Bearer va_teller_" + "a" * 43)
    throttling.connection().delete("rate:anonymous:198.51.100.9", "rate-refused:anonymous:198.51.100.9")
    assert statuses(wrong, 6) == [401] * 3 + [429] * 3
    assert teller.get("/api/v1/notes", REMOTE_ADDR="198.51.100.9").status_code == 200
    assert AuditEvent.objects.filter(ip_address="198.51.100.9").count() == 4


def test_a_repeated_request_is_not_counted_again(three_a_minute: None) -> None:
    teller = api_client("teller")
    for _ in range(6):
        answer = teller.post("/api/v1/clients", {"name": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="k")
        assert answer.status_code == 201
    assert [
        teller.post("/api/v1/clients", {"name": f"y{number}"}, format="json").status_code for number in range(3)
    ] == [201, 201, 429]


def test_many_processes_at_once_admit_no_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Each thread has a connection of its own, as a process has; an hour a window: none comes back meanwhile."""
    monkeypatch.setattr(throttling, "WINDOW_SECONDS", 3600)
    monkeypatch.setattr(throttling, "connection", lambda: redis.pool.__wrapped__(settings.REDIS_URL, 1.0))
    who, start, admitted = f"test:{uuid.uuid4()}", threading.Barrier(12), []

    def call() -> None:
        start.wait()
        for _ in range(10):
            try:
                throttling.admit(who, 40)
                admitted.append(1)
            except throttling.Throttled:
                pass

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(admitted) == 40


def test_calls_are_answered_while_redis_is_down(three_a_minute: None, settings: Settings) -> None:
    teller = api_client("teller")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert statuses(teller, 5) == [200] * 5
