"""Batch enrollments: how far they are, and what became of each customer."""

from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.batches.services import request_cancel
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge, facts, progress_bar

Outcome = BatchResult.Outcome
TONES = {"QUEUED": "busy", "RUNNING": "busy", "SUCCEEDED": "good", "FAILED": "bad", "ERRORED": "bad"}
OUTCOMES = {Outcome.ENROLLED: "good", Outcome.ENROLLING: "busy", Outcome.FAILED: "bad"}
COUNTS = ["total", "enrolled", "enrolling", "skipped", "failed"]


def _cancel(batch: BatchEnrollment, actor: Actor, _: dict[str, Any]) -> str:
    request_cancel(batch_id=batch.pk, actor=actor)
    return "It ends after the customer that it is at. Who is enrolled by then stays enrolled."


@admin.register(BatchEnrollment)
class BatchEnrollmentAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "status", "progress", *COUNTS, "requested_by", "finished_at"]
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
            question="Cancel the batch enrollment {object}? Who is enrolled by then stays enrolled.",
            run=_cancel,
            available=lambda batch: batch.is_open and not batch.cancel_requested,
            danger=True,
        )
    ]

    @admin.display(description="state", ordering="state")
    def status(self, obj: BatchEnrollment) -> SafeString:
        return badge(obj.state, TONES.get(obj.state, "neutral"))

    @admin.display(description="progress")
    def progress(self, obj: BatchEnrollment) -> SafeString:
        return progress_bar(obj.progress_percent, f"{obj.done} of {obj.total} customers")

    @admin.display(description="why customers failed")
    def refusals(self, obj: BatchEnrollment) -> SafeString:
        failed = obj.results.filter(outcome=Outcome.FAILED).order_by()
        return facts(dict(failed.values_list("code").annotate(Count("id"))))

    @admin.display(description="manifest")
    def source(self, obj: BatchEnrollment) -> str:
        return obj.manifest or obj.folder or "came with the request"

    def related(self, request: HttpRequest, obj: BatchEnrollment) -> list[tuple[str, str]]:
        return [("Customers", f"{reverse('admin:batches_batchresult_changelist')}?batch__id__exact={obj.pk}")]

    def detail_context(self, request: HttpRequest, obj: BatchEnrollment) -> dict[str, Any]:
        return {"refresh": 5} if obj.is_open else {}


@admin.register(BatchResult)
class BatchResultAdmin(ReadOnlyAdmin):
    list_display = ["line", "customer_id", "status", "code", "message", "accepted", "speech", "batch"]
    list_filter = ["outcome", "code"]
    search_fields = ["customer_id__exact"]
    search_help_text = "A customer's identifier, exactly."
    fields = ["batch", "line", "customer_id", "status", "code", "message", "accepted", "refused", "speech"]
    list_select_related = ["batch"]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "batch__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.display(description="outcome", ordering="outcome")
    def status(self, obj: BatchResult) -> SafeString:
        return badge(obj.outcome, OUTCOMES.get(Outcome(obj.outcome), "neutral"))

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: BatchResult) -> str:
        return f"{obj.speech_seconds:.1f} s"
