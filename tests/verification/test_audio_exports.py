"""A copy of a call's recording: asked for, approved by a second person, saved once, in time, and on the record."""

import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.services import erase_customer
from tests.support.audio import tone
from tests.support.clients import api_client, error_code
from tests.support.customers import make_customer
from tests.support.people import SignIn
from tests.support.rows import keep_audio, make_decision
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db


@pytest.fixture
def call(db: None) -> Decision:
    decision = make_decision()
    keep_audio(decision, make_customer())
    return decision


def ask(client: APIClient, call: Decision) -> Any:
    return client.post(f"/api/v1/decisions/{call.pk}/audio-exports", {"reason": "the police asks"}, format="json")


def approve(client: APIClient, approval: dict[str, Any]) -> Response:
    return client.post(f"/api/v1/approvals/{approval['id']}/approve")


def download(client: APIClient, call: Decision, approval: dict[str, Any]) -> Any:
    return client.post(f"/api/v1/decisions/{call.pk}/audio-exports/{approval['id']}/download")


def test_a_call_is_exported_once_after_a_second_person_s_approval(reviewer: APIClient, call: Decision) -> None:
    response = ask(reviewer, call)
    approval = response.json()
    assert (response.status_code, approval["action"]) == (202, "decision.export_audio")
    assert error_code(download(reviewer, call, approval)) == "approval_not_open"
    assert error_code(approve(reviewer, approval)) == "second_person_required"
    assert approve(api_client("admin"), approval).json()["state"] == "APPROVED"
    response = download(reviewer, call, approval)
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/zip", "no-store")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.read(f"{call.pk}.wav") == tone(440)
    described = json.loads(archive.read("manifest.json"))
    assert (described["decision_id"], described["customer_id"]) == (str(call.pk), "C-1001")
    event = AuditEvent.objects.get(action="decision.audio_exported")
    assert (event.actor, event.target, event.customer_id) == (reviewer.api_client.name, f"decision:{call.pk}", "C-1001")
    assert error_code(download(reviewer, call, approval)) == "approval_not_open"


@pytest.mark.parametrize("role", ["teller", "ivr", "auditor"])
def test_a_role_that_may_not_listen_asks_for_no_copy(role: str, call: Decision) -> None:
    assert ask(api_client(role), call).status_code == 403
    assert not Approval.objects.exists()


def test_an_approval_is_for_its_call_for_who_asked_and_for_a_while(reviewer: APIClient, call: Decision) -> None:
    other, second = make_decision(), api_client("admin")
    keep_audio(other, make_customer("C-2"))
    approval = ask(reviewer, call).json()
    approve(second, approval)
    assert error_code(download(second, call, approval)) == "approval_not_found"
    assert error_code(download(reviewer, other, approval)) == "approval_not_found"
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error_code(download(reviewer, call, approval)) == "approval_not_open"
    assert not AuditEvent.objects.filter(action="decision.audio_exported").exists()


def test_nothing_is_exported_of_a_recording_that_is_gone(reviewer: APIClient, call: Decision) -> None:
    approval = ask(reviewer, call).json()
    approve(api_client("admin"), approval)
    erase_customer(customer_id="C-1001", actor=SYSTEM)
    assert error_code(download(reviewer, call, approval)) == "no_audio"
    assert error_code(ask(reviewer, call)) == "no_audio"


@pytest.mark.parametrize(("role", "may"), [("reviewer", True), ("admin", True), ("teller", False), ("auditor", False)])
def test_the_page_of_a_call_asks_for_a_copy_where_the_role_may(
    signed_in: SignIn, call: Decision, role: str, may: bool
) -> None:
    client, page = signed_in(role), f"/admin/verification/decision/{call.pk}"
    if role != "teller":  # who may not see the page at all
        assert ("Export recording" in client.get(f"{page}/change/").content.decode()) is may
    response = client.post(f"{page}/do/export/", {"reason": "the police asks"})
    assert response.status_code == (302 if may else 403)
    assert Approval.objects.filter(action="decision.export_audio").exists() is may


def test_the_dashboard_takes_the_copy_through_both_persons(signed_in: SignIn, call: Decision) -> None:
    rita, grace = signed_in("reviewer"), signed_in("admin")
    rita.post(f"/admin/verification/decision/{call.pk}/do/export/", {"reason": "the police asks"})
    page = f"/admin/approvals/approval/{Approval.objects.get().pk}"
    assert grace.post(f"{page}/do/download/").status_code == 200  # with an error: nothing is approved
    assert "errorlist" in rita.post(f"{page}/do/approve/").content.decode()
    assert grace.post(f"{page}/do/approve/").status_code == 302
    for role in ("teller", "auditor"):
        assert signed_in(role).post(f"{page}/do/download/").status_code == 403
    assert "errorlist" in grace.post(f"{page}/do/download/").content.decode()  # only who asked saves it
    response = rita.post(f"{page}/do/download/")
    assert zipfile.ZipFile(io.BytesIO(response.content)).read(f"{call.pk}.wav") == tone(440)


def test_a_call_without_a_recording_offers_no_copy(signed_in: SignIn, call: Decision) -> None:
    CallAudio.objects.all().delete()
    assert (
        "Export recording"
        not in signed_in("reviewer").get(f"/admin/verification/decision/{call.pk}/change/").content.decode()
    )
