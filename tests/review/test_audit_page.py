"""The audit trail: filtered and verified."""

import re
from collections.abc import Callable

import pytest
from django.db.models import QuerySet

from tests.support.people import SignIn
from tests.support.trail import the_owner_at_work
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record

pytestmark = pytest.mark.django_db


def _write_trail(count: int = 5) -> None:
    for number in range(count):
        record(action="decision.made", actor=SYSTEM, customer_id=f"C-{number}")


def test_an_intact_trail_is_reported_as_intact_and_the_check_is_recorded(signed_in: SignIn) -> None:
    _write_trail()
    page = signed_in("reviewer").post("/admin/audit/auditevent/do/verify/").content.decode()
    assert "rows are unchanged" in page
    assert AuditEvent.objects.get(action="audit.verified").data["findings"] == []


@pytest.mark.parametrize(
    ("tamper", "finding"),
    [(lambda events: events.update(customer_id="C-9"), "changed"), (lambda events: events.delete(), "removed")],
)
def test_verifying_finds_a_row_that_was_changed_or_removed(
    signed_in: SignIn, tamper: Callable[[QuerySet], object], finding: str
) -> None:
    client = signed_in("reviewer")
    _write_trail()
    with the_owner_at_work():
        tamper(AuditEvent.objects.filter(sequence=3))
    page = client.post("/admin/audit/auditevent/do/verify/").content.decode()
    assert "tampered" in page
    assert re.search(rf"<td>3</td><td>{finding}</td>", page)


def test_a_trail_too_long_for_a_web_request_is_left_to_the_command(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiceauth.review.admin.audit.MAX_ROWS", 2)
    client = signed_in("reviewer")
    _write_trail()
    assert "verify_audit_trail" in client.post("/admin/audit/auditevent/do/verify/").content.decode()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"customer_id": "C-1"}, 1),
        ({"action": "decision.made"}, 5),
        ({"outcome__exact": "failed"}, 0),
        ({"q": "C-2"}, 1),
    ],
)
def test_the_trail_is_filtered(signed_in: SignIn, query: dict[str, str], count: int) -> None:
    client = signed_in("reviewer")
    _write_trail()
    assert client.get("/admin/audit/auditevent/", query).context["cl"].result_count == count
