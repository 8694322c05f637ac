"""Decisions: the answer, everything it is based on, and the audio of the call."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from enrollment.models import ConfirmedCall, Customer
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.held import method_label
from voiceauth.review.charts import badge, probability_bar
from voiceauth.review.playback import answer, play_call
from voiceauth.verification.confirmations import revoke
from voiceauth.verification.models import CallAudio, Decision

TONES = {"ACCEPT": "good", "MATCH": "good", "REJECT": "bad", "NO_MATCH": "bad", "SPEAKER_LOCKED": "bad"}


def _revoke(decision: Decision, actor: Actor, _: dict[str, Any]) -> str:
    revoke(decision_id=decision.pk, actor=actor)
    return f"The call is no longer a part of the voiceprint of {decision.customer_id}."


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
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
        )
    ]

    list_display = ["created_at", "result", "kind", "customer", "bar", "scored_by"]
    list_filter = ["decision", "kind", ("model_version", admin.AllValuesFieldListFilter)]
    date_hierarchy = "created_at"
    search_fields = ["customer_id__exact", "request_id__exact"]
    search_help_text = "A customer's identifier or a request's, exactly."
    change_form_template = "review/decision.html"
    fieldsets = [
        (
            "Answer",
            {"fields": ["result", "kind", "customer", "bar", "threshold", "reasons_given", "confirmed", "created_at"]},
        ),
        (
            "Based on",
            {
                "fields": [
                    "log_likelihood_ratio",
                    "score",
                    "speech",
                    "snr",
                    "clipping",
                    "channel",
                    "model_version",
                    "model_fingerprint",
                    "calibration_version",
                ]
            },
        ),
        ("Candidates", {"fields": ["ranking"]}),
        ("Request", {"fields": ["actor", "request_id", "scoring_milliseconds", "id"]}),
    ]

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        view = self.admin_site.admin_view(require_GET(self.play))
        return [path("<uuid:decision_id>/audio/", view, name="verification_decision_audio"), *super().get_urls()]

    def play(self, request: HttpRequest, decision_id: UUID) -> HttpResponse:
        """Play the audio, and record that in the audit trail."""
        return answer(request, lambda actor: play_call(decision_id=decision_id, actor=actor), f"call-{decision_id}")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show candidates for identifications only."""
        identified = obj is not None and obj.kind == Decision.Kind.IDENTIFY
        return [part for part in self.fieldsets if identified or part[0] != "Candidates"]

    def detail_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return more context for the detail page."""
        kept = CallAudio.objects.filter(decision=obj).only("expires_at").first()
        allowed = request.user.has_perm("review.play_audio")
        source = reverse("admin:verification_decision_audio", args=[obj.pk]) if kept and allowed else ""
        return {"title": f"{obj.get_kind_display()} · {obj.decision}", "kept_audio": kept, "audio_source": source}

    @admin.display(description="decision", ordering="decision")
    def result(self, obj: Decision) -> SafeString:
        """Show the column “decision”."""
        return badge(obj.decision, TONES.get(obj.decision, "neutral"))

    def related(self, request: HttpRequest, obj: Decision) -> list[tuple[str, str]]:
        """Link to related pages."""
        pages = [("Audit trail", f"{reverse('admin:audit_auditevent_changelist')}?target=decision%3A{obj.pk}")]
        customer = Customer.objects.filter(customer_id=obj.customer_id).only("pk").first()
        if customer is not None:
            pages.insert(0, ("Customer", reverse("admin:enrollment_customer_change", args=[customer.pk])))
        return pages

    @admin.display(description="customer", ordering="customer_id")
    def customer(self, obj: Decision) -> str:
        """Show the column “customer”."""
        return obj.customer_id or "—"

    @admin.display(description="model", ordering="model_version")
    def scored_by(self, obj: Decision) -> SafeString:
        """Show the column “model”."""
        return format_html('<span class="va-small">{}</span>', obj.model_version or "—")

    @admin.display(description="probability", ordering="probability")
    def bar(self, obj: Decision) -> SafeString:
        """Show the column “probability”."""
        return probability_bar(obj.probability, obj.threshold)

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: Decision) -> str:
        """Show the column “net speech”."""
        return "—" if obj.speech_seconds is None else f"{obj.speech_seconds:.1f} s"

    @admin.display(description="signal to noise")
    def snr(self, obj: Decision) -> str:
        """Show the column “signal to noise”."""
        return "—" if obj.snr_db is None else f"{obj.snr_db:.1f} dB"

    @admin.display(description="clipped samples")
    def clipping(self, obj: Decision) -> str:
        """Show the column “clipped samples”."""
        return "—" if obj.clipping_ratio is None else f"{obj.clipping_ratio:.2%}"

    @admin.display(description="confirmed by")
    def confirmed(self, obj: Decision) -> str:
        """Show what confirmed the caller, where the call was added to the voiceprint."""
        call = ConfirmedCall.objects.filter(pk=obj.pk).first()
        if call is None:
            return "—"
        return f"{method_label(call)}{'' if call.sample_id else ' (removed from the voiceprint)'}"

    @admin.display(description="reasons")
    def reasons_given(self, obj: Decision) -> str:
        """Show the column “reasons”."""
        return ", ".join(obj.reasons) or "—"

    @admin.display(description="ranked candidates")
    def ranking(self, obj: Decision) -> SafeString:
        """Show the column “ranked candidates”."""
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (rank, row.get("customer_id", ""), probability_bar(row.get("probability"), obj.threshold))
                for rank, row in enumerate(obj.candidates, start=1)
            ),
        )
        return format_html(
            '<table class="va-table"><thead><tr><th>Rank</th><th>Customer</th><th>Probability</th></tr></thead>'
            "<tbody>{}</tbody></table>",
            rows,
        )
