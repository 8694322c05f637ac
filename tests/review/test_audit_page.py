"""The audit trail: filtered and verified."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

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
    number = AuditEvent.objects.get(customer_id="C-3").sequence
    with the_owner_at_work():
        tamper(AuditEvent.objects.filter(sequence=number))
    page = client.post("/admin/audit/auditevent/do/verify/").content.decode()
    assert "tampered" in page
    assert re.search(rf"<td>{number}</td><td>{finding}</td>", page)


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


def _export(signed_in: SignIn, role: str = "auditor", **fields: str) -> Any:
    today = str(timezone.now().date())
    return signed_in(role).post("/admin/audit/auditevent/do/export/", {"since": today, "until": today, **fields})


def test_events_are_exported_as_csv_and_the_export_is_recorded(signed_in: SignIn) -> None:
    with transaction.atomic():
        record(action="decision.made", actor=SYSTEM, customer_id="=1+1", data={"a": [1, 2]})
        record(action="decision.made", actor=SYSTEM, customer_id="C-2")
    response = _export(signed_in)
    rows = list(csv.DictReader(io.StringIO(response.content.decode())))
    assert response["Content-Type"].startswith("text/csv")
    made = [row for row in rows if row["action"] == "decision.made"]
    assert [row["customer_id"] for row in made] == ["'=1+1", "C-2"]  # no formula for a spreadsheet
    assert (made[0]["data"], len(made[0]["hash"])) == ('{"a": [1, 2]}', 64)
    event = AuditEvent.objects.get(action="audit.exported")
    assert (event.actor, event.data["rows"]) == ("user:otto", len(rows))


def test_an_export_can_be_limited_to_a_customer_and_days(signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_trail()
    assert _export(signed_in, customer_id="C-1").content.decode().count("decision.made") == 1
    assert "after the last one" in _export(signed_in, until="2020-01-01").content.decode()
    assert AuditEvent.objects.filter(action="audit.exported").count() == 1
    monkeypatch.setattr("voiceauth.review.admin.audit.MAX_ROWS", 2)
    assert "export_too_long" in _export(signed_in).content.decode()


def test_a_teller_exports_nothing(signed_in: SignIn) -> None:
    assert _export(signed_in, role="teller").status_code == 403
