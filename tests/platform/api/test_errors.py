"""One error shape, whatever goes wrong, and a trace of every refusal in the trail."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from rest_framework.response import Response
from rest_framework.test import APIClient

from tests.support.clients import SignedIn
from tests.support.trail import newest_event
from voiceauth.platform.api import refusals
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.urls("tests.support.edge")


def error_of(response: Response) -> dict:
    content = json.loads(response.content)
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "data", "request_id"}
    assert content["error"]["request_id"] == response["X-Request-ID"]
    return content["error"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("conflict", 409, "conflict"),
        ("scoring", 503, "scoring_unavailable"),
        ("operational", 503, "database_unavailable"),
        ("interface", 503, "database_unavailable"),
        ("bug", 500, "internal_error"),
        ("http404", 404, "not_found"),
        ("forbidden", 403, "permission_denied"),
        ("suspicious", 400, "malformed_request"),
    ],
)
def test_each_failure_has_its_status_and_code_and_reveals_nothing_inside(
    teller: APIClient, monkeypatch: pytest.MonkeyPatch, name: str, status: int, code: str
) -> None:
    monkeypatch.setattr(
        "voiceauth.platform.api.exceptions.connection.close", lambda: None
    )  # the test's transaction is on it
    response = teller.get(f"/api/v1/failing/{name}")
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert b"hunter2" not in response.content


def test_a_broken_connection_is_closed_so_that_the_next_request_gets_a_new_one(
    teller: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr("voiceauth.platform.api.exceptions.connection.close", lambda: closed.append(True))
    response = teller.get("/api/v1/failing/operational")
    assert closed == [True]
    assert response["Retry-After"] == "2"


def test_retry_after_is_whole_seconds_and_the_data_stay(teller: APIClient) -> None:
    response = teller.get("/api/v1/failing/scoring")
    assert response["Retry-After"] == "2"
    assert error_of(response)["data"] == {"retry_after_seconds": 1.2}


def test_a_bug_is_logged_with_its_trace(teller: APIClient, caplog: pytest.LogCaptureFixture) -> None:
    teller.get("/api/v1/failing/bug")
    [entry] = [entry for entry in caplog.records if entry.name == "voiceauth.platform.api.exceptions"]
    assert entry.exc_info is not None and entry.exc_info[0] is KeyError


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        ("{", "application/json", 400, "malformed_request"),
        ('{"text": NaN}', "application/json", 400, "malformed_request"),
        (b"\xff\xfe", "application/json", 400, "malformed_request"),
        ("text=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        ("[]", "application/json", 400, "validation_error"),
        ("null", "application/json", 400, "validation_error"),
        ('{"text": "a\\u0000"}', "application/json", 400, "validation_error"),
        ('{"text": "a", "number": "x"}', "application/json", 400, "validation_error"),
    ],
)
def test_bodies_that_cannot_be_read_or_are_not_valid(
    teller: APIClient, body: Any, content_type: str, status: int, code: str
) -> None:
    response = teller.generic("POST", "/api/v1/notes", body, content_type=content_type)
    assert (response.status_code, error_of(response)["code"]) == (status, code)


def test_a_broken_multipart_body_is_malformed(teller: APIClient) -> None:
    response = teller.generic("POST", "/api/v1/uploads", "--x\r\nno", content_type="multipart/form-data")
    assert (response.status_code, error_of(response)["code"]) == (400, "malformed_request")


def test_unknown_fields_are_refused_by_name(teller: APIClient) -> None:
    response = teller.post("/api/v1/notes", {"text": "a", "nubmer": 1}, format="json")
    assert error_of(response)["data"] == {"fields": {"nubmer": ["Unknown field."]}}


def test_each_wrong_field_is_named(teller: APIClient) -> None:
    response = teller.post("/api/v1/notes", {"text": "a" * 11}, format="json")
    assert set(error_of(response)["data"]["fields"]) == {"text"}


def test_a_wrong_method_names_the_right_ones(teller: APIClient) -> None:
    response = teller.delete("/api/v1/notes")
    assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
    assert "POST" in response["Allow"]


def test_an_answer_in_another_type_than_json_is_refused(teller: APIClient) -> None:
    response = teller.get("/api/v1/notes", HTTP_ACCEPT="text/csv")
    assert (response.status_code, error_of(response)["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/nowhere"])
def test_unknown_paths_of_the_api_are_answered_in_json(anonymous: APIClient, db: None, path: str) -> None:
    response = anonymous.get(path)
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_other_unknown_paths_get_a_page(anonymous: APIClient, db: None) -> None:
    response = anonymous.get("/nowhere")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_an_unknown_host_is_refused_in_json(anonymous: APIClient, db: None) -> None:
    response = anonymous.get("/api/v1/notes", HTTP_HOST="evil.example")
    assert (response.status_code, error_of(response)["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("path", ["/api/v1/notes/a%00b", "/api/v1/notes?text=%00", "/api/v1/notes?%00=a"])
def test_nul_characters_in_paths_and_queries_are_refused(teller: APIClient, path: str) -> None:
    response = teller.get(path)
    assert (response.status_code, error_of(response)["code"]) == (400, "malformed_request")


# --- the trace of a refusal ---


def test_a_refusal_is_recorded_with_its_code_caller_and_customer(teller: APIClient) -> None:
    response = teller.get("/api/v1/failing/conflict/c-1", REMOTE_ADDR="192.0.2.9")
    event = newest_event()
    assert (event.action, event.outcome, event.customer_id) == ("request.refused", "refused", "c-1")
    assert (event.actor, event.role) == (teller.api_client.name, "teller")
    assert (event.ip_address, event.request_id) == ("192.0.2.9", response["X-Request-ID"])
    assert event.data == {
        "code": "conflict",
        "status": 409,
        "method": "GET",
        "path": "/api/v1/failing/conflict/c-1",
    }


def test_what_we_could_not_answer_is_recorded_as_failed(teller: APIClient) -> None:
    teller.get("/api/v1/failing/scoring")
    event = newest_event()
    assert (event.action, event.outcome, event.data["code"]) == ("request.failed", "failed", "scoring_unavailable")


def test_a_bad_token_is_recorded_as_anonymous_and_never_stored(db: None) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer va_teller_" + "x" * 43)
    client.get("/api/v1/notes")
    event = newest_event()
    assert (event.actor, event.data["code"]) == ("anonymous", "invalid_token")
    assert "xxx" not in json.dumps(event.data)


def test_an_overlong_path_is_recorded_cut(teller: APIClient) -> None:
    teller.get("/api/v1/failing/conflict/" + "c" * 500)
    event = newest_event()
    assert len(event.customer_id) == 64
    assert len(event.data["path"]) == 256


def test_a_success_leaves_no_refusal(teller: APIClient) -> None:
    before = AuditEvent.objects.count()
    assert teller.get("/api/v1/notes").status_code == 200
    assert AuditEvent.objects.count() == before


def test_a_refusal_that_cannot_be_recorded_is_still_answered(
    teller: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(refusals, "record", broken)
    assert teller.get("/api/v1/failing/conflict").status_code == 409
    assert "could not be recorded" in caplog.text


def test_a_change_whose_event_cannot_be_written_does_not_happen(transactional_db: None, teller: APIClient) -> None:
    response = teller.post("/api/v1/changes")
    assert (response.status_code, error_of(response)["code"]) == (500, "internal_error")
    assert not ApiClient.objects.filter(name="changed").exists()
    assert newest_event().action == "request.failed"


def test_a_failing_commit_is_answered_in_the_error_shape(teller: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> object:
        from django.db import OperationalError

        raise OperationalError("hunter2")

    monkeypatch.setattr("voiceauth.platform.api.exceptions.connection.close", lambda: None)
    monkeypatch.setattr("voiceauth.platform.api.idempotency._settle", broken)
    teller.raise_request_exception = False
    response = teller.post("/api/v1/clients", {"name": "x"}, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert (response.status_code, error_of(response)["code"]) == (503, "database_unavailable")
    assert transaction.get_connection().is_usable()


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("notes", {"data": '{"text": "a", "text": "b"}', "content_type": "application/json"}),
        ("notes", {"data": '{"text": "a", "number": {"x": 1, "x": 2}}', "content_type": "application/json"}),
        ("notes?x=1&x=2", {"data": "{}", "content_type": "application/json"}),
        ("uploads", {"data": {"audio": ["a", "b"]}}),
        ("uploads", {"data": {"audio": [SimpleUploadedFile("a", b"1"), SimpleUploadedFile("b", b"2")]}}),
        ("uploads", {"data": {"audio": ["text", SimpleUploadedFile("b", b"2")]}}),
    ],
)
def test_a_field_or_a_parameter_that_is_given_twice_is_refused(
    teller: SignedIn, path: str, options: dict[str, Any]
) -> None:
    response = teller.post(f"/api/v1/{path}", **options)
    assert (response.status_code, error_of(response)["code"]) == (400, "repeated_field")
    assert len(error_of(response)["data"]["fields"]) == 1


def test_a_body_that_is_nested_without_end_is_malformed(teller: SignedIn) -> None:
    response = teller.post("/api/v1/notes", "[" * 100_000, content_type="application/json")
    assert (response.status_code, error_of(response)["code"]) == (400, "malformed_request")
