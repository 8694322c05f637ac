"""Requests that a second person must approve: approve, reject, and fetch an approved export."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from enrollment.audio_exports import EXPORT_AUDIO, export_audio
from voiceauth.platform.approvals import registry, services
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.archives import download
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge, pretty
from voiceauth.verification.audio_exports import EXPORT_CALL, export_call

State = Approval.State
TONES = {State.REQUESTED: "busy", State.APPROVED: "good", State.EXECUTED: "good", State.REJECTED: "bad"}


def _approve(approval: Approval, actor: Actor, _: dict[str, Any]) -> str:
    state = services.approve(approval_id=approval.pk, actor=actor).state
    return (
        "Approved and carried out."
        if state == State.EXECUTED
        else "Approved. The person who requested it can now carry it out, once."
    )


def _reject(approval: Approval, actor: Actor, _: dict[str, Any]) -> str:
    services.reject(approval_id=approval.pk, actor=actor)
    return "Rejected. Nothing was changed."


def _download(approval: Approval, actor: Actor, _: dict[str, Any]) -> HttpResponse:
    if approval.action == EXPORT_CALL:
        decision_id = UUID(approval.parameters["decision_id"])
        archive = export_call(decision_id=decision_id, approval_id=approval.pk, actor=actor)
    else:
        archive = export_audio(customer_id=approval.parameters["customer_id"], approval_id=approval.pk, actor=actor)
    return download(archive, approval.pk)


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Requests that need a second person."""

    empty = "Nobody has asked for a second person's approval."
    list_display = ["what", "told", "status", "requested_by", "requested_at", "decided_by", "expires_at"]
    list_filter = ["state", ("action", admin.AllValuesFieldListFilter)]
    search_fields = ["requested_by__exact", "decided_by__exact"]
    fieldsets = [
        ("Request", {"fields": ["what", "given", "reason", "requested_by", "requested_at"]}),
        ("Decision", {"fields": ["status", "decided_by", "decided_at", "expires_at"]}),
    ]
    operations = [
        Action(
            name="approve",
            label="Approve",
            permission="approvals.decide_approval",
            question="Approve this request of {object.requested_by}? You answer for it as the second person.",
            run=_approve,
            available=lambda approval: approval.state == State.REQUESTED,
        ),
        Action(
            name="reject",
            label="Reject",
            permission="approvals.decide_approval",
            question="Reject this request of {object.requested_by}? Nothing is changed then.",
            run=_reject,
            available=lambda approval: approval.state == State.REQUESTED,
            danger=True,
        ),
        Action(
            name="download",
            label="Save the recordings",
            permission="review.export_audio",
            question="Save the recordings as a ZIP file? Only the person who requested them can do so, and only once.",
            run=_download,
            available=lambda approval: (
                approval.state == State.APPROVED and approval.action in (EXPORT_AUDIO, EXPORT_CALL)
            ),
        ),
    ]

    def name_of(self, obj: Approval) -> str:
        """Name the request by what it asks for."""
        return f"{self.what(obj)}, requested by {obj.requested_by}"

    @admin.display(description="action", ordering="action")
    def what(self, obj: Approval) -> str:
        """Show the column “action”."""
        return registry.action_of(obj.action).label

    @admin.display(description="parameters")
    def told(self, obj: Approval) -> SafeString:
        """Show the column “parameters”: each name with its value."""
        return format_html_join(
            mark_safe("<br>"), "{}: {}", ((name.replace("_", " "), value) for name, value in obj.parameters.items())
        )

    @admin.display(description="parameters")
    def given(self, obj: Approval) -> SafeString:
        """Show the column “parameters”."""
        return pretty(obj.parameters)

    @admin.display(description="state", ordering="state")
    def status(self, obj: Approval) -> SafeString:
        """Show the column “state”."""
        return badge(obj.state, TONES.get(State(obj.state), "neutral"))
