"""Batch enrollments: how far they are, and what became of each customer."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.batches.services import request_cancel
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.lists import ValuesFilter
from voiceauth.review.charts import badge, facts, progress_bar

State = BatchResult.State
TONES = {"QUEUED": "busy", "RUNNING": "busy", "SUCCEEDED": "good", "FAILED": "bad", "ERRORED": "bad"}
RESULT_TONES = {State.ENROLLED: "good", State.ENROLLING: "busy", State.FAILED: "bad"}
OF_BATCH = "batch__id__exact"
COUNTS = ["total", "enrolled", "enrolling", "skipped", "failed"]


def _cancel(batch: BatchEnrollment, actor: Actor, _: dict[str, Any]) -> str:
    request_cancel(batch_id=batch.pk, actor=actor)
    return "The batch stops after the customer in progress. Customers who are enrolled by then stay enrolled."


@admin.register(BatchEnrollment)
class BatchEnrollmentAdmin(ReadOnlyAdmin):
    """Batch enrollments."""

    empty = "No batch yet. POST /api/v1/batch-enrollments enrolls many customers from one manifest."
    list_display = ["created_at", "status", "progress", *COUNTS[1:], "requested_by", "finished_at"]
    list_filter = ["state"]
    fields = [
        "status",
        "progress",
        *COUNTS,
        "refusals",
        "existing",
        "source",
        "requested_by",
        "created_at",
        "started_at",
        "finished_at",
        "error_code",
        "error_message",
    ]
    operations = [
        Action(
            name="cancel",
            label="Cancel",
            permission="review.cancel_batch",
            question="Cancel the {object}? Customers who are enrolled by then stay enrolled.",
            run=_cancel,
            available=lambda batch: batch.is_open and not batch.cancel_requested,
            danger=True,
        )
    ]

    @admin.display(description="state", ordering="state")
    def status(self, obj: BatchEnrollment) -> SafeString:
        """Show the column “state”."""
        return badge(obj.state, TONES.get(obj.state, "neutral"))

    @admin.display(description="progress")
    def progress(self, obj: BatchEnrollment) -> SafeString:
        """Show the column “progress”."""
        return progress_bar(obj.progress_percent, f"{obj.done} of {obj.total} customers")

    @admin.display(description="why customers failed")
    def refusals(self, obj: BatchEnrollment) -> SafeString:
        """Show the column “why customers failed”."""
        failed = obj.results.filter(state=State.FAILED).order_by()
        return facts(dict(failed.values_list("code").annotate(Count("id"))))

    @admin.display(description="manifest")
    def source(self, obj: BatchEnrollment) -> str:
        """Show the column “manifest”."""
        return obj.manifest or obj.folder or "sent with the request"

    def related(self, request: HttpRequest, obj: BatchEnrollment) -> list[tuple[str, str]]:
        """Link to related pages."""
        return [("Results", f"{reverse('admin:batches_batchresult_changelist')}?{OF_BATCH}={obj.pk}")]

    def detail_context(self, request: HttpRequest, obj: BatchEnrollment) -> dict[str, Any]:
        """Return more context for the detail page."""
        return {"refresh": 5} if obj.is_open else {}


@admin.register(BatchResult)
class BatchResultAdmin(ReadOnlyAdmin):
    """The customers of one batch. The results of two batches are never mixed in one list."""

    list_display = ["line", "customer_id", "status", "code", "message", "accepted", "speech"]
    list_filter = ["state", ("code", ValuesFilter)]
    search_fields = ["customer_id__exact"]
    search_help_text = "A customer's identifier, exactly."
    fields = ["batch", "line", "customer_id", "status", "code", "message", "accepted", "refused", "speech"]
    list_select_related = ["batch"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """List the results of the batch that the address names; without one, list the batches."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = _batch(request.GET.get(OF_BATCH, ""))
        if batch is None:
            return HttpResponseRedirect(reverse("admin:batches_batchenrollment_changelist"))
        address = reverse("admin:batches_batchenrollment_change", args=[batch.pk])
        context = {"title": f"Results of the {batch}", "parent": batch, "parent_url": address, **(extra_context or {})}
        return super().changelist_view(request, context)

    def related(self, request: HttpRequest, obj: BatchResult) -> list[tuple[str, str]]:
        """Link to the batch."""
        return [("Batch enrollment", reverse("admin:batches_batchenrollment_change", args=[obj.batch_id]))]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the address to name the batch."""
        return lookup == OF_BATCH or super().lookup_allowed(lookup, value, request)

    @admin.display(description="state", ordering="state")
    def status(self, obj: BatchResult) -> SafeString:
        """Show the state as a badge."""
        return badge(obj.state, RESULT_TONES.get(State(obj.state), "neutral"))

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: BatchResult) -> str:
        """Show the customer's net speech in seconds."""
        return f"{obj.speech_seconds:.1f} s"


def _batch(identifier: str) -> BatchEnrollment | None:
    try:
        return BatchEnrollment.objects.filter(pk=UUID(identifier)).first()
    except ValueError:
        return None
