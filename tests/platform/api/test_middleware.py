"""The request's id, the caller's address, security headers."""

import logging
import uuid
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from tests.support.trail import newest_event
from voiceauth.platform.logs import RequestIdFilter

pytestmark = pytest.mark.urls("tests.support.edge")


def test_a_sane_request_id_is_kept_and_echoed(teller: APIClient) -> None:
    assert teller.get("/api/v1/notes", HTTP_X_REQUEST_ID="call-2026.11_24")["X-Request-ID"] == "call-2026.11_24"


@pytest.mark.parametrize("given", ["", "short", "x" * 37, "evil\nline-injected", "<script>alert(1)", "ünïcödé-id"])
def test_any_other_request_id_is_replaced(teller: APIClient, given: Any) -> None:
    uuid.UUID(teller.get("/api/v1/notes", HTTP_X_REQUEST_ID=given)["X-Request-ID"])


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.5", "192.0.2.1"),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "10.9.9.9, 203.0.113.5", "203.0.113.5"),  # what stands before is the caller's own claim
        (2, "203.0.113.5, 198.51.100.2", "203.0.113.5"),
        (2, "203.0.113.5", "203.0.113.5"),
        (1, "", "192.0.2.1"),
        (1, "nonsense", "192.0.2.1"),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_callers_address_is_the_one_that_our_outermost_proxy_saw(
    teller: APIClient, settings: Settings, proxies: Any, forwarded: Any, expected: Any
) -> None:
    settings.VOICEAUTH_TRUSTED_PROXIES = proxies
    teller.get("/api/v1/failing/conflict", REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=forwarded)
    assert newest_event().ip_address == expected


@pytest.mark.parametrize("path", ["/api/v1/notes", "/admin/login/", "/healthz", "/nowhere"])
def test_every_answer_carries_a_policy_without_inline_scripts(teller: APIClient, path: str) -> None:
    policy = teller.get(path)["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_answers_of_the_api_are_not_cached(teller: APIClient) -> None:
    assert teller.get("/api/v1/notes")["Cache-Control"] == "no-store"


def test_log_lines_of_a_refusal_carry_its_request_id(teller: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RequestIdFilter())
    response = teller.get("/api/v1/failing/bug")
    ids = {
        getattr(entry, "request_id", "")
        for entry in caplog.records
        if entry.name in {"voiceauth.platform.api.exceptions", "django.request"}
    }
    assert ids == {response["X-Request-ID"]}


def test_neither_bodies_nor_tokens_are_logged(teller: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    teller.post("/api/v1/notes", {"text": "s3cret-body-text"}, format="json")
    assert teller.token not in caplog.text
    assert "s3cret" not in caplog.text
