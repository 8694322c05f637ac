"""Decisions: the answer, everything it is based on, and the audio of the call."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from enrollment.models import ConfirmedCall, Customer
from voiceauth.platform.audit import Actor
from voiceauth.policies import selectors as policies
from voiceauth.review import evidence
from voiceauth.review.admin.base import Action, ReadOnlyAdmin, Why
from voiceauth.review.admin.decision_columns import DecisionColumns
from voiceauth.review.admin.lists import DaysFilter, ValuesFilter
from voiceauth.review.playback import answer, play_call
from voiceauth.screening.models import ReviewCase
from voiceauth.screening.risk import HIGH_RISK, KNOWN_FRAUDSTER, REPLAY, VELOCITY
from voiceauth.verification.attempts import key_of
from voiceauth.verification.audio_exports import request_call_export
from voiceauth.verification.confirmations import revoke
from voiceauth.verification.models import CallAudio, Decision
from voiceauth.verification.policy import CLIPPED, MORE_THAN_ONE_SPEAKER, TOO_NOISY, VOICEPRINT_STALE
from voiceauth.verification.selectors import of_model


def _revoke(decision: Decision, actor: Actor, _: dict[str, Any]) -> str:
    revoke(decision_id=decision.pk, actor=actor)
    return f"The call is no longer a part of the voiceprint of {decision.customer_id}."


def _export(decision: Decision, actor: Actor, given: dict[str, Any]) -> str:
    approval = request_call_export(decision_id=decision.pk, reason=given["reason"], actor=actor)
    return f"A second person must approve the export until {approval.expires_at:%d %b %Y, %H:%M}. Look under Approvals."


class RiskFilter(admin.SimpleListFilter):
    """Decisions with a fraud risk, or with one reason of it."""

    title = "fraud risk"
    parameter_name = "risk"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the level and each reason."""
        return [("any", "any"), *((code, code) for code in (KNOWN_FRAUDSTER, REPLAY, VELOCITY))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Decision]) -> QuerySet[Decision]:
        """Select the rows, of those with a risk alone, which have an index."""
        if self.value() is None:
            return queryset
        risky = queryset.filter(fraud_risk__level=HIGH_RISK)
        return risky if self.value() == "any" else risky.filter(fraud_risk__reasons__contains=[{"code": self.value()}])


class ReasonFilter(admin.SimpleListFilter):
    """Decisions for which a reason was given."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer each reason."""
        return [(each, each) for each in (REPLAY, MORE_THAN_ONE_SPEAKER, TOO_NOISY, CLIPPED, VOICEPRINT_STALE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Decision]) -> QuerySet[Decision]:
        """Select the rows, of those with a reason alone, which have an index."""
        return queryset if self.value() is None else queryset.exclude(reasons=[]).filter(reasons__contains=self.value())


class TierFilter(admin.SimpleListFilter):
    """Decisions of one risk tier: the tiers of the policy in force."""

    title = "tier"
    parameter_name = "tier"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the tiers, and calls without one."""
        return [("none", "none"), *((name, name) for name in sorted(policies.in_force().tiers))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Decision]) -> QuerySet[Decision]:
        """Select the rows."""
        if self.value() is None:
            return queryset
        return queryset.filter(tier="" if self.value() == "none" else self.value())


class ModelFilter(ValuesFilter):
    """Decisions of one model."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Decision]) -> QuerySet[Decision]:
        """Select the rows."""
        return queryset if self.lookup_val is None else of_model(queryset, self.lookup_val[-1])


@admin.register(Decision)
class DecisionAdmin(DecisionColumns, ReadOnlyAdmin):
    """Decisions, and the audio of their calls."""

    operations = [
        Action(
            name="revoke",
            label="Remove from the voiceprint",
            permission="review.revoke_confirmation",
            question="Remove the call of {object} from the customer's voiceprint? Its recording is deleted there, and "
            "it cannot be added again. The decision stays.",
            run=_revoke,
            available=lambda decision: ConfirmedCall.objects.filter(pk=decision.pk).exclude(sample=None).exists(),
            danger=True,
        ),
        Action(
            name="export",
            label="Export recording",
            permission="review.export_audio",
            question="Request a copy of this call's recording? A second person must approve it. You can then save it "
            "once, from the page of the approval.",
            run=_export,
            form=Why,
            available=lambda decision: CallAudio.objects.filter(pk=decision.pk).exists(),
        ),
    ]

    list_display = ["created_at", "result", "risk", "kind", "customer", "tier_name", "bar"]
    list_filter = [
        "decision",
        RiskFilter,
        ReasonFilter,
        TierFilter,
        "kind",
        ("model_version", ModelFilter),
        ("created_at", DaysFilter),
    ]
    empty = "No call has been decided yet. Calls come from the API: POST /api/v1/verify and /identify."
    sortable_by = ["created_at"]
    search_fields = ["customer_id__exact"]
    search_help_text = (
        "A decision's id, a customer's identifier, a caller (such as a number) or a request's id, exactly."
    )
    change_form_template = "review/decision.html"
    fieldsets = [
        (
            "Answer",
            {
                "fields": [
                    "result",
                    "kind",
                    "customer",
                    "bar",
                    "threshold_used",
                    "told_caller",
                    "other_factor",
                    "tier_name",
                    "policy_number",
                    "confirmed",
                    "created_at",
                ]
            },
        ),
        ("Fraud risk", {"fields": ["risk_with_scores", "caller_hash"]}),
        (
            "Based on",
            {
                "fields": [
                    "ratio",
                    "similarity",
                    "speech",
                    "enrolled",
                    "snr",
                    "clipping",
                    "channel_heard",
                    "cut_out",
                    "model_version",
                    "model_fingerprint",
                    "calibration_version",
                ]
            },
        ),
        ("Candidates", {"fields": ["ranking"]}),
        ("Request", {"fields": ["id", "actor", "request_id", "scored_in"]}),
    ]

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        view = self.admin_site.admin_view(require_GET(self.play))
        return [path("<uuid:decision_id>/audio/", view, name="verification_decision_audio"), *super().get_urls()]

    def play(self, request: HttpRequest, decision_id: UUID) -> HttpResponse:
        """Play the audio, and record that in the audit trail."""
        return answer(request, lambda actor: play_call(decision_id=decision_id, actor=actor), f"call-{decision_id}")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Decision], search_term: str
    ) -> tuple[QuerySet[Decision], bool]:
        """Find a decision by its id, and others by whom they are about."""
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(customer_id=term) | Q(caller=key_of(term)) | Q(caller=term) | Q(request_id=term)
        with suppress(ValueError):  # no id
            wanted |= Q(pk=UUID(term))
        return queryset.filter(wanted), False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show candidates for identifications only."""
        identified = obj is not None and obj.kind == Decision.Kind.IDENTIFY
        return [part for part in self.fieldsets if identified or part[0] != "Candidates"]

    def detail_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return more context for the detail page."""
        kept = CallAudio.objects.filter(decision=obj).only("expires_at").first()
        return {
            "title": f"{obj.get_kind_display()} · {obj.decision}",
            "kept_audio": kept,
            **evidence.of_decision(request, obj),
        }

    def related(self, request: HttpRequest, obj: Decision) -> list[tuple[str, str]]:
        """Link to the customer, to the review cases that the call is evidence in, and to the trail."""
        pages = []
        customer = Customer.objects.filter(customer_id=obj.customer_id).only("pk").first()
        if customer is not None:
            pages.append(("Customer", reverse("admin:enrollment_customer_change", args=[customer.pk])))
        if obj.fraud_risk.get("reasons") and request.user.has_perm("screening.view_reviewcase"):
            found = ReviewCase.objects.filter(evidence__contains=[{"decision_id": str(obj.pk)}]).order_by("number")
            pages += [(str(case), reverse("admin:screening_reviewcase_change", args=[case.pk])) for case in found]
        pages.append(("Audit trail", f"{reverse('admin:audit_auditevent_changelist')}?target=decision%3A{obj.pk}"))
        return pages
