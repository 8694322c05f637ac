"""The audit trail, read-only, its verification and its export."""

import csv
import io
import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from voiceauth.platform.audit import Actor, selectors
from voiceauth.platform.audit.chain import Anchor, verify
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import Conflict
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter, ValuesFilter
from voiceauth.review.charts import badge, pretty

# A web request reads this many rows at most (some seconds); longer trails are for the command.
MAX_ROWS = 100_000
COLUMNS = [field.name for field in AuditEvent._meta.fields]  # of an export


class TrailTooLong(Conflict):
    """A web request verifies a trail of limited length only."""

    code = "trail_too_long"
    message = f"The trail has more than {MAX_ROWS:,} rows. Verify it with: manage.py verify_audit_trail"


class Export(forms.Form):
    """Which events to export."""

    since = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), label="From")
    until = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), label="To", help_text="Both days are part.")
    customer_id = forms.CharField(max_length=64, required=False, label="Customer", help_text="Empty: all.")

    def clean(self) -> dict[str, Any]:
        """Require that the first day is not after the last one."""
        given: dict[str, Any] = super().clean() or {}
        if "since" in given and "until" in given and given["until"] < given["since"]:
            raise forms.ValidationError("The first day is after the last one.")
        return given


class ExportTooLong(Conflict):
    """A web request exports a limited number of events only."""

    code = "export_too_long"
    message = f"These are more than {MAX_ROWS:,} events. Choose fewer days, or one customer."


def _export(_: None, actor: Actor, given: dict[str, Any]) -> HttpResponse:
    """Write the chosen events as CSV, the oldest first, and record who took them."""
    events = AuditEvent.objects.filter(occurred_at__date__range=(given["since"], given["until"]))
    if given["customer_id"]:
        events = events.filter(customer_id=given["customer_id"])
    if (count := events.count()) > MAX_ROWS:
        raise ExportTooLong()
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for event in events.order_by("sequence").values_list(*COLUMNS).iterator():
        rows.writerow([_cell(value) for value in event])
    said = {"since": str(given["since"]), "until": str(given["until"]), "rows": count}
    with transaction.atomic():
        record(action="audit.exported", actor=actor, customer_id=given["customer_id"], data=said)
    name = f"attachment; filename=audit-{given['since']}-{given['until']}.csv"
    return HttpResponse(text.getvalue(), "text/csv; charset=utf-8", headers={"Content-Disposition": name})


def _cell(value: Any) -> str:
    """Return a value as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _verify(_: None, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    if AuditEvent.objects.order_by()[: MAX_ROWS + 1].count() > MAX_ROWS:
        raise TrailTooLong()
    report = verify()
    anchor = report.last
    if not any(finding.kind.startswith("head") for finding in report.findings):  # onto a forged head nothing is written
        with transaction.atomic():
            kinds = sorted({finding.kind for finding in report.findings})
            data = {"rows": report.count, "findings": kinds}
            anchor = Anchor.of(record(action="audit.verified", actor=actor, data=data))
    return {"report": report, "anchor": anchor}


class TrailDaysFilter(DaysFilter):
    """The events from one day to another: the trail is in the order of its numbers, not of its moments."""

    since = staticmethod(selectors.since)  # type: ignore[assignment]
    before = staticmethod(selectors.before)  # type: ignore[assignment]


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """The audit trail."""

    empty = "The trail is empty: nothing has happened yet."
    list_display = ["sequence", "occurred_at", "action", "result", "actor", "role", "customer_id"]
    list_display_links = ["sequence", "action"]
    list_filter = ["outcome", ("action", ValuesFilter), ("role", ValuesFilter), ("occurred_at", TrailDaysFilter)]
    sortable_by = ["sequence"]
    search_fields = ["customer_id__exact", "actor__exact", "request_id__exact", "target__exact"]
    search_help_text = "A customer, an actor, a request or a target, exactly."
    fieldsets = [
        ("Event", {"fields": ["sequence", "occurred_at", "action", "result", "customer_id", "target"]}),
        ("Who and from where", {"fields": ["actor", "role", "ip_address", "request_id"]}),
        ("What", {"fields": ["model_version", "threshold", "was", "became", "details"]}),
        ("Chain", {"fields": ["lane", "follows", "previous_hash", "hash"]}),
    ]
    operations = [
        Action(
            name="verify",
            label="Verify trail",
            permission="review.verify_trail",
            question="Verify the whole trail? This checks the hash of every row and the heads, and takes some seconds.",
            run=_verify,
            on_list=True,
            done_template="review/verified.html",
        ),
        Action(
            name="export",
            label="Export CSV",
            permission="audit.view_auditevent",
            question="Export events of the trail as a CSV file? The export is recorded in the trail.",
            run=_export,
            form=Export,
            on_list=True,
        ),
    ]

    def detail_context(self, request: HttpRequest, obj: AuditEvent) -> dict[str, Any]:
        """Return more context for the detail page."""
        return {"title": f"{obj.sequence} · {obj.action}"}

    @admin.display(description="outcome", ordering="outcome")
    def result(self, obj: AuditEvent) -> SafeString:
        """Show the column “outcome”."""
        return badge(obj.outcome, {"success": "good", "refused": "bad", "failed": "bad"}.get(obj.outcome, "neutral"))

    @admin.display(description="before")
    def was(self, obj: AuditEvent) -> SafeString:
        """Show the column “before”."""
        return pretty(obj.before)

    @admin.display(description="after")
    def became(self, obj: AuditEvent) -> SafeString:
        """Show the column “after”."""
        return pretty(obj.after)

    @admin.display(description="data")
    def details(self, obj: AuditEvent) -> SafeString:
        """Show the column “data”."""
        return pretty(obj.data)
