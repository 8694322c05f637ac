"""Roles as scopes, and tokens limited to some of them."""

import pytest
from rest_framework.test import APIClient

from tests.factories import api_client
from voiceauth.platform.api.clients import InvalidClientName, UnknownScope, create_client
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.scopes import ROLES
from voiceauth.platform.audit import SYSTEM

AUDITORS_READS = ["customers", "decisions", "audit-events", "models", "training-runs", "policies", "approvals"]


def code(response) -> str:
    return response.json()["error"]["code"]


def test_an_auditor_reads_what_is_to_be_audited(db):
    auditor = api_client("auditor")
    assert {path: auditor.get(f"/api/v1/{path}").status_code for path in AUDITORS_READS} == dict.fromkeys(
        AUDITORS_READS, 200
    )


def test_an_auditor_changes_nothing_and_hears_no_audio(db):
    assert {scope.partition(":")[2] for scope in ROLES["auditor"]} == {"read"}
    auditor = api_client("auditor")
    for path in (
        "customers",
        "customers/ann/enrollments",
        "customers/ann/audio-exports",
        "verify",
        "identify",
        "training-runs",
        "models/v1/promote",
        "policies",
        "approvals/00000000-0000-0000-0000-000000000000/approve",
    ):
        assert (auditor.post(f"/api/v1/{path}").status_code, path) == (403, path)


def test_a_token_limited_to_a_scope_does_nothing_else_that_its_role_may(db):
    limited = api_client("teller", scopes=["customers:read"])
    assert limited.get("/api/v1/customers").status_code == 200
    assert code(limited.post("/api/v1/customers", {"customer_id": "ann"})) == "permission_denied"
    assert limited.get("/api/v1/batch-enrollments").status_code == 403


def test_no_token_gets_a_scope_that_its_role_has_not(db):
    with pytest.raises(UnknownScope):
        create_client(name="x", role="ivr", scopes=["customers:write"], actor=SYSTEM)


@pytest.mark.urls("tests.platform.api.edge")
def test_a_limited_token_is_denied_by_a_view_that_names_roles_only(db):
    assert api_client("teller").get("/api/v1/notes").status_code == 200
    assert api_client("teller", scopes=["customers:read"]).get("/api/v1/notes").status_code == 403


def test_a_view_cannot_ask_for_a_scope_that_nobody_has():
    with pytest.raises(ValueError, match="customers:raed"):
        needs("customers:raed")


@pytest.mark.parametrize("name", ["user:grace", "system", "anonymous"])
def test_a_client_cannot_take_a_name_that_the_trail_gives_to_others(db, name):
    with pytest.raises(InvalidClientName):
        create_client(name=name, role="admin", actor=SYSTEM)


def test_the_openapi_document_says_which_scope_and_roles_a_call_needs(db):
    document = APIClient().get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json").json()
    operation = document["paths"]["/api/v1/customers"]["get"]
    assert (operation["x-scope"], operation["x-roles"]) == ("customers:read", ["auditor", "reviewer", "teller"])
    assert "429" in operation["responses"]
