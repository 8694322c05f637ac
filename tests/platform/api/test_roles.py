"""The table of authority, for the API, the dashboard and the documentation; tokens limited to some scopes."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from tests.support.clients import api_client, error_code
from voiceauth.platform.api.clients import InvalidClientName, UnknownScope, create_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.api.roles import CAPABILITIES, DASHBOARD_ONLY, ROLES, SCOPES, capabilities_of, scopes_of
from voiceauth.platform.audit import SYSTEM
from voiceauth.review.roles import CAPABILITY_OF, ensure_groups

ROOT = Path(__file__).resolve().parents[3]

AUDITORS_READS = ["customers", "decisions", "audit-events", "models", "training-runs", "policies", "approvals"]


def test_an_auditor_reads_what_is_to_be_audited(db: None) -> None:
    auditor = api_client("auditor")
    assert {path: auditor.get(f"/api/v1/{path}").status_code for path in AUDITORS_READS} == dict.fromkeys(
        AUDITORS_READS, 200
    )


def test_an_auditor_changes_nothing_and_hears_no_audio(db: None) -> None:
    assert {scope.partition(":")[2] for scope in scopes_of("auditor")} == {"read"}
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


def test_a_token_limited_to_a_scope_does_nothing_else_that_its_role_may(db: None) -> None:
    limited = api_client("teller", scopes=["customers:read"])
    assert limited.get("/api/v1/customers").status_code == 200
    assert error_code(limited.post("/api/v1/customers", {"customer_id": "ann"})) == "permission_denied"
    assert limited.get("/api/v1/batch-enrollments").status_code == 403


def test_no_token_gets_a_scope_that_its_role_does_not_have(db: None) -> None:
    with pytest.raises(UnknownScope):
        create_client(name="x", role="ivr", scopes=["customers:write"], actor=SYSTEM)


@pytest.mark.urls("tests.support.edge")
def test_a_limited_token_is_denied_by_a_view_that_names_roles_only(db: None) -> None:
    assert api_client("teller").get("/api/v1/notes").status_code == 200
    assert api_client("teller", scopes=["customers:read"]).get("/api/v1/notes").status_code == 403


def test_a_view_cannot_ask_for_a_scope_that_nobody_has() -> None:
    with pytest.raises(ValueError, match="customers:raed"):
        needs("customers:raed")


@pytest.mark.parametrize(
    "name", ["user:grace", "system", "anonymous", "", " ", " x", "x\n", "a\x00b", "a\nb", "\u200b", "x" * 65]
)
def test_a_client_has_a_name_that_people_can_read_and_that_the_trail_gives_to_nobody_else(db: None, name: str) -> None:
    with pytest.raises(InvalidClientName):
        create_client(name=name, role="admin", actor=SYSTEM)


def test_the_openapi_document_says_which_scope_and_roles_a_call_needs(db: None) -> None:
    document = APIClient().get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json").json()
    operation = document["paths"]["/api/v1/customers"]["get"]
    assert (operation["x-scope"], operation["x-roles"]) == (
        "customers:read",
        ["admin", "auditor", "reviewer", "teller"],
    )
    assert "429" in operation["responses"]


def test_every_role_of_the_table_exists_and_none_has_everything() -> None:
    assert {role for roles in CAPABILITIES.values() for role in roles} == set(ROLES) == set(ApiClient.Role.values)
    assert all(capabilities_of(role) < set(CAPABILITIES) for role in ROLES)


def test_every_scope_opens_a_call_of_the_api_and_every_other_capability_a_page(document: dict[str, Any]) -> None:
    needed = {operation.get("x-scope") for path in document["paths"].values() for operation in path.values()}
    assert needed - {None} == SCOPES
    assert set(CAPABILITY_OF.values()) >= DASHBOARD_ONLY


def test_a_role_reads_the_same_through_the_api_and_on_the_dashboard(people: dict[str, User]) -> None:
    """The administrator, for one, may read decisions and the trail through both."""
    pages = {
        "customers": "enrollment.view_customer",
        "decisions": "verification.view_decision",
        "audit-events": "audit.view_auditevent",
        "cases": "screening.view_reviewcase",
        "watchlists": "screening.view_watchlist",
        "models": "mltraining.view_modelversion",
        "training-runs": "retraining.view_trainingrun",
        "policies": "policies.view_policyversion",
        "approvals": "approvals.view_approval",
        "batch-enrollments": "batches.view_batchenrollment",
    }
    for role in ("teller", "reviewer", "admin", "auditor"):
        client = api_client(role)
        by_api = {path: client.get(f"/api/v1/{path}").status_code == 200 for path in pages}
        assert by_api == {path: people[role].has_perm(permission) for path, permission in pages.items()}, role
    assert api_client("admin").get("/api/v1/decisions").status_code == 200


def test_the_documentation_shows_the_table() -> None:
    rows = ["| capability | " + " | ".join(ROLES) + " |", "| --- |" + " :-: |" * len(ROLES)]
    for name, roles in CAPABILITIES.items():
        shown = f"`{name}`" + (" (dashboard only)" if name in DASHBOARD_ONLY else "")
        rows.append(f"| {shown} | " + " | ".join("x" if role in roles else " " for role in ROLES) + " |")
    table = "\n".join(rows)
    assert table in (ROOT / "docs" / "api.md").read_text(), f"docs/api.md must hold:\n{table}"


@pytest.fixture
def document(db: None) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(APIClient().get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json").json())


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """A person in the group of each role."""
    ensure_groups()
    found = {role: User.objects.create_user(f"a-{role}", is_staff=True) for role in ROLES if role != "ivr"}
    for role, user in found.items():
        user.groups.set([Group.objects.get(name=role)])
    return found
