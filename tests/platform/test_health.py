"""Live and ready."""

from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from mltraining import worker_client
from voiceauth import __version__
from voiceauth.platform import health
from voiceauth.platform.errors import ScoringUnavailable


@pytest.fixture
def scoring_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "call", lambda *args, **kwargs: {})


def test_a_live_process_answers_anyone(anonymous: APIClient, db: None) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok", "version": __version__}


@pytest.mark.django_db(transaction=True)
def test_ready_means_that_database_queue_and_a_real_worker_answer(
    anonymous: APIClient, celery_worker_process: object
) -> None:
    response = anonymous.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "database": "ok", "queue": "ok", "scoring": "ok"}


def test_without_a_scoring_worker_it_is_not_ready(
    anonymous: APIClient, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*args: object, **kwargs: object) -> None:
        raise ScoringUnavailable(retry_after_seconds=2)

    monkeypatch.setattr(worker_client, "call", nobody)
    response = anonymous.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "ok", "queue": "ok", "scoring": "unavailable"}


def test_without_a_queue_nobody_is_asked_to_score(
    anonymous: APIClient, db: None, settings: Settings, scoring_answers: Any
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = anonymous.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "ok", "queue": "unavailable", "scoring": "unavailable"}


def test_without_a_database_it_says_so_and_reveals_nothing_else(
    anonymous: APIClient, db: None, monkeypatch: pytest.MonkeyPatch, scoring_answers: Any
) -> None:
    def down() -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(health, "_database", down)
    monkeypatch.setattr(health.connection, "close", lambda: None)
    response = anonymous.get("/readyz")
    assert response.status_code == 503
    assert response.json()["database"] == "unavailable"
    assert b"hunter2" not in response.content
