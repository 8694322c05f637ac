"""``/`` leads somewhere, HEAD and OPTIONS answer, and pages of other origins call the API only where they may."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from tests.support.clients import error_code
from voiceauth.platform import env

TELLER_APP = "https://teller.bank.example"
PREFLIGHT = {"Origin": TELLER_APP, "Access-Control-Request-Method": "POST"}


def test_the_root_leads_to_the_dashboard(client: Client) -> None:
    for answer in (client.get("/"), client.head("/")):
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_head_answers_like_get_without_a_body(teller: APIClient, anonymous: APIClient) -> None:
    got, head = teller.get("/api/v1/customers"), teller.head("/api/v1/customers")
    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Type"] == got["Content-Type"]
    assert teller.head("/api/v1/customers/nobody").status_code == 404
    assert anonymous.head("/api/v1/customers").status_code == 401
    assert anonymous.head("/healthz").status_code == 200


def test_options_names_the_methods(teller: APIClient, anonymous: APIClient) -> None:
    answer = teller.options("/api/v1/customers")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert anonymous.options("/api/v1/customers").status_code == 401
    assert error_code(teller.options("/api/v1/models")) == "permission_denied"


def test_no_other_origin_may_call_the_api_by_default(anonymous: APIClient, db: None) -> None:
    for answer in (
        anonymous.options("/api/v1/verify", headers=PREFLIGHT),
        anonymous.get("/api/v1/customers", headers={"Origin": TELLER_APP}),
    ):
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)


def test_an_origin_that_is_named_may(teller: APIClient, anonymous: APIClient, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [TELLER_APP]
    asked = anonymous.options("/api/v1/verify", headers=PREFLIGHT)
    assert (asked.status_code, asked["Access-Control-Allow-Origin"]) == (200, TELLER_APP)
    assert "idempotency-key" in asked["Access-Control-Allow-Headers"] and asked["X-Request-ID"]
    answer = teller.get("/api/v1/customers", headers={"Origin": TELLER_APP})
    assert "retry-after" in answer["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer  # tokens, no cookies
    for refused in (
        anonymous.options("/api/v1/verify", headers=PREFLIGHT | {"Origin": "https://elsewhere.example"}),
        anonymous.get("/admin/login/", headers={"Origin": TELLER_APP}),
    ):
        assert "Access-Control-Allow-Origin" not in refused


@pytest.mark.parametrize("value", ["*", "teller.bank.example", "https://teller.bank.example/app"])
def test_what_is_no_origin_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VOICEAUTH_CORS_ORIGINS", value)
    with pytest.raises(ImproperlyConfigured, match="VOICEAUTH_CORS_ORIGINS must be origins"):
        env.origins("VOICEAUTH_CORS_ORIGINS")


def test_a_refusal_names_the_scope_that_is_missing(ivr: APIClient) -> None:
    error = ivr.get("/api/v1/customers").json()["error"]
    assert (error["code"], error["data"]["scope"]) == ("permission_denied", "customers:read")
    assert error["data"]["roles"] == ["admin", "auditor", "reviewer", "teller"]
    assert "customers:read" in error["message"] and "teller" in error["message"]


def test_a_refusal_names_the_types_that_are_taken(teller: APIClient, ivr: APIClient) -> None:
    error = teller.post("/api/v1/customers", "customer_id=ann", content_type="text/plain").json()["error"]
    assert (error["code"], error["data"]["accepted"]) == ("unsupported_media_type", ["application/json"])
    answer = ivr.post("/api/v1/verify", {"customer_id": "ann"}, format="json")
    assert (answer.status_code, answer.json()["error"]["data"]["accepted"]) == (415, ["multipart/form-data"])


def test_a_refusal_names_the_candidate_that_is_none(ivr: APIClient) -> None:
    answer = ivr.post("/api/v1/identify", {"candidates": "C-1,b d"}, format="multipart")
    (said,) = answer.json()["error"]["data"]["fields"]["candidates"]
    assert said.startswith("'b d': ")
