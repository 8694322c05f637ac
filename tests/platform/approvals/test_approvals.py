"""Dual control: what one asks for, another one approves; once."""

import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.services import erase_customer
from mltraining.models import ModelVersion
from tests.support.audio import tone
from tests.support.clients import api_client, error_code
from tests.support.customers import make_customer, make_sample
from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.waiting import at_once, until
from voiceauth.platform.api.clients import create_client
from voiceauth.platform.approvals import registry, services
from voiceauth.platform.approvals.errors import ApprovalNotOpen
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db
State = Approval.State


def decide(client: APIClient, approval: Any, verb: str = "approve") -> Response:
    return client.post(f"/api/v1/approvals/{approval['id']}/{verb}")


@pytest.fixture
def forced(admin: APIClient) -> dict[str, Any]:
    """A forced promotion of model v2 that ``admin`` has asked for."""
    make_model("v1", state="ACTIVE")
    make_model("v2")
    response = admin.post("/api/v1/models/v2/promote", {"force": True, "reason": "the line changed"}, format="json")
    assert response.status_code == 202
    return response.json()


def state_of(version: str) -> str:
    return ModelVersion.objects.get(pk=version).state


def test_a_forced_promotion_waits_for_a_second_person(forced: dict[str, Any]) -> None:
    assert (forced["state"], forced["action"], forced["reason"]) == (
        "REQUESTED",
        "model.force_promotion",
        "the line changed",
    )
    assert state_of("v2") == "CANDIDATE"
    second = api_client("admin")
    answer = decide(second, forced).json()
    assert (answer["state"], answer["decided_by"]) == ("EXECUTED", second.api_client.name)
    model = ModelVersion.objects.get(pk="v2")
    assert (model.state, model.promotions.get().forced) == ("PROMOTING", True)
    executed = AuditEvent.objects.get(action="approval.executed")
    assert (executed.actor, executed.data["requested_by"]) == (second.api_client.name, forced["requested_by"])
    assert AuditEvent.objects.get(action="model.promotion_requested").data["reason"] == "the line changed"


def test_a_promotion_is_not_forced_without_a_reason(admin: APIClient) -> None:
    make_model("v2")
    response = admin.post("/api/v1/models/v2/promote", {"force": True}, format="json")
    assert (response.status_code, error_code(response)) == (400, "validation_error")
    assert not Approval.objects.exists()


def test_the_requester_may_not_approve(admin: APIClient, forced: dict[str, Any]) -> None:
    response = decide(admin, forced)
    assert (response.status_code, error_code(response)) == (409, "second_person_required")
    assert (state_of("v2"), Approval.objects.get().state) == ("CANDIDATE", State.REQUESTED)
    assert AuditEvent.objects.filter(action="request.refused", data__code="second_person_required").exists()


def test_a_second_token_of_the_same_person_is_not_a_second_person(db: None) -> None:
    grace = Actor(name="user:grace", role="admin")
    make_model("v2")
    approval = services.request(action="model.force_promotion", parameters={"version": "v2"}, reason="x", actor=grace)
    own, other = APIClient(), APIClient()
    for client, issuer in ((own, grace), (other, Actor(name="user:frank", role="admin"))):
        _, token = create_client(name=issuer.name[5:], role="admin", actor=issuer)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert error_code(decide(own, {"id": approval.pk})) == "second_person_required"
    assert decide(other, {"id": approval.pk}).status_code == 200


def test_asking_twice_is_one_request(admin: APIClient, forced: dict[str, Any]) -> None:
    again = admin.post("/api/v1/models/v2/promote", {"force": True, "reason": "again"}, format="json")
    assert again.json()["id"] == forced["id"]


def test_a_rejected_request_is_not_carried_out_any_more(admin: APIClient, forced: dict[str, Any]) -> None:
    second = api_client("admin")
    assert decide(second, forced, "reject").json()["state"] == "REJECTED"
    assert error_code(decide(second, forced)) == "approval_not_open"
    assert state_of("v2") == "CANDIDATE"
    assert AuditEvent.objects.get(action="approval.rejected").actor == second.api_client.name


def test_a_request_ends_and_is_recorded_as_expired(forced: dict[str, Any]) -> None:
    Approval.objects.update(expires_at=timezone.now())
    assert error_code(decide(api_client("admin"), forced)) == "approval_not_open"
    assert (services.expire(), services.expire()) == (1, 0)
    assert Approval.objects.get().state == State.EXPIRED
    assert AuditEvent.objects.get(action="approval.expired").actor == SYSTEM.name


def test_what_the_action_refuses_leaves_the_request_open(forced: dict[str, Any]) -> None:
    make_model("v3", state="PROMOTING")
    second = api_client("admin")
    assert error_code(decide(second, forced)) == "promotion_in_progress"
    assert Approval.objects.get().state == State.REQUESTED
    assert not AuditEvent.objects.filter(action="approval.executed").exists()


def test_each_sees_and_decides_what_the_action_says(forced: dict[str, Any]) -> None:
    reviewer, auditor = api_client("reviewer"), api_client("auditor")
    assert reviewer.get("/api/v1/approvals").json()["count"] == 0
    assert error_code(decide(reviewer, forced)) == "not_an_approver"
    assert reviewer.get(f"/api/v1/approvals/{forced['id']}").status_code == 404
    assert auditor.get("/api/v1/approvals", {"state": "REQUESTED"}).json()["results"] == [forced]
    assert decide(auditor, forced).status_code == 403
    assert api_client("teller").get("/api/v1/approvals").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_of_two_who_approve_at_once_one_does_and_it_is_carried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    carried_out = []

    def execute(*_: Any) -> None:
        until(_somebody_waits, seconds=20)  # the other one is at the same request
        carried_out.append(1)

    action = registry.Action(name="test", label="Test", approvers=frozenset({"admin"}), execute=execute)
    monkeypatch.setitem(registry._actions, "test", action)
    asked = services.request(action="test", parameters={}, reason="x", actor=SYSTEM)
    outcomes = at_once(
        *(
            lambda name=name: services.approve(approval_id=asked.pk, actor=Actor(name=name, role="admin"))
            for name in ("user:ann", "user:bob")
        )
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Approval", ApprovalNotOpen.__name__], outcomes
    assert carried_out == [1]
    assert AuditEvent.objects.filter(action="approval.executed").count() == 1


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


# --- a customer's recordings --------------------------------------------------------------------


def ask_for_audio(client: APIClient) -> dict[str, Any]:
    response = client.post("/api/v1/customers/C-1001/audio-exports", {"reason": "subject access"}, format="json")
    assert response.status_code == 202
    return response.json()


def download(client: APIClient, approval: dict[str, Any], customer_id: str = "C-1001") -> Response:
    return client.post(f"/api/v1/customers/{customer_id}/audio-exports/{approval['id']}/download")


def test_recordings_are_exported_after_a_second_person_s_approval_once(reviewer: APIClient) -> None:
    sample = make_sample(make_customer())
    approval = ask_for_audio(reviewer)
    assert error_code(download(reviewer, approval)) == "approval_not_open"
    assert error_code(decide(reviewer, approval)) == "second_person_required"
    assert decide(api_client("admin"), approval).json()["state"] == "APPROVED"
    response = download(reviewer, approval)
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/zip", "no-store")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.read(f"{sample.pk}.wav") == tone(301)
    assert json.loads(archive.read("manifest.json"))["samples"][0]["file"] == f"{sample.pk}.wav"
    event = AuditEvent.objects.get(action="customer.audio_exported")
    assert (event.actor, event.customer_id, event.data["samples"]) == (reviewer.api_client.name, "C-1001", 1)
    assert error_code(download(reviewer, approval)) == "approval_not_open"


def test_an_approved_export_is_for_its_customer_and_who_asked_only(reviewer: APIClient) -> None:
    make_sample(make_customer()), make_sample(make_customer("C-2"), 2)
    approval, second = ask_for_audio(reviewer), api_client("admin")
    decide(second, approval)
    assert error_code(download(second, approval)) == "approval_not_found"
    assert error_code(download(reviewer, approval, "C-2")) == "approval_not_found"
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error_code(download(reviewer, approval)) == "approval_not_open"


def test_nothing_is_exported_of_a_customer_who_was_erased_since(reviewer: APIClient) -> None:
    make_sample(make_customer())
    approval = ask_for_audio(reviewer)
    decide(api_client("admin"), approval)
    erase_customer(customer_id="C-1001", actor=SYSTEM)
    assert error_code(download(reviewer, approval)) == "customer_not_found"


# --- the dashboard ------------------------------------------------------------------------------


def test_the_dashboard_takes_an_export_through_both_persons(signed_in: SignIn, people: dict[str, User]) -> None:
    sample = make_sample(customer := make_customer())
    rita, grace = signed_in("reviewer"), signed_in("admin")
    rita.post(f"/admin/enrollment/customer/{customer.pk}/do/export/", {"reason": "subject access"})
    page = f"/admin/approvals/approval/{Approval.objects.get().pk}"
    assert "errorlist" in rita.post(f"{page}/do/approve/").content.decode()
    assert "Export a customer" in grace.get("/admin/approvals/approval/").content.decode()
    assert "subject access" in grace.get(f"{page}/change/").content.decode()
    assert grace.post(f"{page}/do/approve/").status_code == 302
    response = rita.post(f"{page}/do/download/")
    assert zipfile.ZipFile(io.BytesIO(response.content)).read(f"{sample.pk}.wav") == tone(301)
    assert "no-store" in response["Cache-Control"]


def test_the_dashboard_asks_for_a_forced_promotion_and_does_not_start_it(signed_in: SignIn) -> None:
    model = make_model()
    signed_in("admin").post(f"/admin/mltraining/modelversion/{model.pk}/do/force/", {"reason": "why"})
    assert (Approval.objects.get().requested_by, state_of(model.pk)) == ("user:grace", "CANDIDATE")


def test_an_auditor_sees_approvals_and_decides_none(signed_in: SignIn) -> None:
    make_model("v2")
    asked = services.request(action="model.force_promotion", parameters={"version": "v2"}, reason="x", actor=SYSTEM)
    auditor, page = signed_in("auditor"), f"/admin/approvals/approval/{asked.pk}"
    assert "/do/" not in auditor.get(f"{page}/change/").content.decode()
    assert auditor.post(f"{page}/do/approve/").status_code == 403
