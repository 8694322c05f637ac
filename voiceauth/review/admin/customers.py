"""Customers with their consents and enrollment recordings: erase, lock, unlock, export."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from enrollment.audio_exports import request_audio_export
from enrollment.lifecycle import TRANSITIONS
from enrollment.models import AudioSample, Consent, Customer, Voiceprint
from enrollment.selectors import find_customers
from enrollment.services import erase_customer, lock_customer, unlock_customer
from mltraining.models import ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import selectors as policies
from voiceauth.review.admin.base import Action, ReadOnlyAdmin, ReadOnlyInline, Why
from voiceauth.review.admin.held import SampleColumns, player
from voiceauth.review.charts import badge
from voiceauth.review.playback import answer, play_sample
from voiceauth.verification.policy import delayed_until

TONES = {"ENROLLED": "good", "ENROLLING": "busy", "LOCKED": "bad", "OPTED_OUT": "bad", "EXPIRED": "bad"}


class ConsentInline(ReadOnlyInline):
    """A customer's consents."""

    model = Consent
    fields = readonly_fields = ("purpose", "text", "origin", "granted_at", "granted_by", "withdrawn_at")

    @admin.display(description="text")
    def text(self, obj: Consent) -> SafeString:
        """Show the version of the text, and the hash of what was shown, which proves it."""
        if not obj.text_sha256:
            return format_html("{} <span class='va-quiet'>not stored: its hash is not known</span>", obj.text_version)
        return format_html("{} <code class='va-hash'>SHA-256 {}</code>", obj.text_version, obj.text_sha256)


class AudioSampleInline(SampleColumns, ReadOnlyInline):
    """A customer's enrollment recordings."""

    model = AudioSample
    verbose_name_plural = "recordings of the voiceprint"
    fields = readonly_fields = (
        "created_at",
        "source",
        "speech",
        "duration",
        "snr",
        "clipping",
        "format",
        "waits",
        "created_by",
        "listen",
    )
    may_play = False

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Remember whether the person may listen."""
        self.may_play = request.user.has_perm("review.play_audio")
        return super().get_formset(request, obj, **kwargs)

    @admin.display(description="held for")
    def waits(self, obj: AudioSample) -> str | SafeString:
        """Show the column “held for”."""
        if not obj.held_for:
            return super().waits(obj)
        address = reverse("admin:enrollment_audiosample_change", args=[obj.pk])
        return format_html('{} <a href="{}">Decide</a>', super().waits(obj), address)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AudioSample]:
        """Select the rows, each with the call that it is of."""
        return super().get_queryset(request).select_related("confirmation")

    @admin.display(description="listen")
    def listen(self, obj: AudioSample) -> str | SafeString:
        """Show the column “listen”."""
        if not self.may_play:
            return "—"
        return player(obj)


class VoiceprintInline(ReadOnlyInline):
    """A customer's voiceprints, one a model."""

    model = Voiceprint
    fields = readonly_fields = ("model_version", "recordings", "speech", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Voiceprint]:
        """Select the rows without the vectors, each with the version and the state of its model."""
        models = ModelVersion.objects.filter(fingerprint=OuterRef("model_fingerprint"))
        rows = super().get_queryset(request).defer("content")
        found = rows.annotate(version=Subquery(models.values("version")), in_state=Subquery(models.values("state")))
        return found.order_by("-updated_at")

    @admin.display(description="model")
    def model_version(self, obj: Any) -> SafeString:
        """Show the model, and whether it is in service."""
        if obj.version is None:
            return format_html("<code>{}</code>", obj.model_fingerprint[:8])
        tone = "good" if obj.in_state == ModelVersion.State.ACTIVE else "neutral"
        return format_html("{} {}", obj.version, badge(obj.in_state, tone))

    @admin.display
    def recordings(self, obj: Voiceprint) -> int:
        """Show how many recordings it is the mean of."""
        return obj.sample_count

    @admin.display(description="net speech")
    def speech(self, obj: Voiceprint) -> str:
        """Show the net speech behind the voiceprint."""
        return f"{obj.speech_seconds:.1f} s"


def _erase(customer: Customer, actor: Actor, given: dict[str, Any]) -> str:
    erasure = erase_customer(customer_id=customer.customer_id, reason=given["reason"], actor=actor)
    return (
        f"Customer {customer.customer_id} is erased; the audit trail stays. "
        f"Follow the deletion of the files under Erasures: {erasure.pk}."
    )


def _export(customer: Customer, actor: Actor, given: dict[str, Any]) -> str:
    approval = request_audio_export(customer_id=customer.customer_id, reason=given["reason"], actor=actor)
    return f"A second person must approve the export until {approval.expires_at:%d %b %Y, %H:%M}."


class Reason(forms.Form):
    """A reason for the audit trail."""

    reason = forms.CharField(max_length=500, help_text="It is kept in the audit trail.")


def _lock(customer: Customer, actor: Actor, given: dict[str, Any]) -> str:
    lock_customer(customer_id=customer.customer_id, reason=given["reason"], actor=actor)
    return f"{customer.customer_id} is locked. Calls are refused until somebody unlocks the customer."


def _unlock(customer: Customer, actor: Actor, given: dict[str, Any]) -> str:
    unlock_customer(customer_id=customer.customer_id, reason=given["reason"], actor=actor)
    return f"{customer.customer_id} is unlocked. Calls are scored again, without a delay."


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Customers."""

    empty = "There is no customer yet. Customers come from the API: POST /api/v1/customers, or a batch enrollment."
    list_display = ["customer_id", "display_name", "status", "speech", "consent", "enrolled_at", "last_accessed_at"]
    list_filter = ["state"]
    search_fields = ["customer_id__startswith"]
    search_help_text = "The beginning of a customer's identifier, or words of the name or their beginnings."
    fieldsets = [
        (None, {"fields": ["customer_id", "display_name", "status", "speech", "consent"]}),
        ("State and attempts", {"fields": ["state_since", "refused_in_a_row", "delayed"]}),
        ("Times", {"fields": ["created_at", "enrolled_at", "last_accessed_at"]}),
    ]
    inlines = [ConsentInline, AudioSampleInline, VoiceprintInline]
    operations = [
        Action(
            name="erase",
            label="Erase customer",
            permission="review.erase_customer",
            question="Erase {object}? The customer, all recordings and all voiceprints are deleted, and copies in "
            "backups can no longer be read. This cannot be undone. The audit trail keeps what was done.",
            run=_erase,
            form=Reason,
            danger=True,
        ),
        Action(
            name="lock",
            label="Lock",
            permission="review.lock_customer",
            question="Lock {object}? Every call is refused until somebody unlocks the customer. "
            "The caller is not told why.",
            run=_lock,
            form=Reason,
            available=lambda customer: Customer.State.LOCKED in TRANSITIONS[customer.state],
            danger=True,
        ),
        Action(
            name="unlock",
            label="Unlock",
            permission="review.lock_customer",
            question="Unlock {object}? Calls are scored again: the count of refusals starts at zero, and a delay ends.",
            run=_unlock,
            form=Reason,
            available=lambda customer: customer.state == Customer.State.LOCKED or customer.refusals > 0,
        ),
        Action(
            name="export",
            label="Export recordings",
            permission="review.export_audio",
            question="Request a copy of all recordings of {object}? A second person must approve it. You can then save "
            "it once, from the page of the approval.",
            run=_export,
            form=Why,
        ),
    ]

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        view = self.admin_site.admin_view(require_GET(self.play))
        return [
            path("samples/<uuid:sample_id>/audio/", view, name="enrollment_customer_sample_audio"),
            *super().get_urls(),
        ]

    def play(self, request: HttpRequest, sample_id: UUID) -> HttpResponse:
        """Play the audio, and record that in the audit trail."""
        return answer(request, lambda actor: play_sample(sample_id=sample_id, actor=actor), f"enrollment-{sample_id}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        """Select the rows of the list."""
        current = Consent.objects.filter(withdrawn_at=None)
        return (
            super()
            .get_queryset(request)
            .defer("data_key")
            .prefetch_related(Prefetch("consents", queryset=current, to_attr="current_consents"))
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Customer], search_term: str
    ) -> tuple[QuerySet[Customer], bool]:
        """Find customers by the beginning of the identifier, or by words of the name: both have an index."""
        return (find_customers(queryset, search_term) if search_term.strip() else queryset), False

    def related(self, request: HttpRequest, obj: Customer) -> list[tuple[str, str]]:
        """Link to related pages."""
        pages = [("Decisions", "verification", "decision"), ("Audit trail", "audit", "auditevent")]
        query = urlencode({"customer_id": obj.customer_id})
        return [
            (label, f"{reverse(f'admin:{app}_{model}_changelist')}?{query}")
            for label, app, model in pages
            if request.user.has_perm(f"{app}.view_{model}")
        ]

    @admin.display(description="state", ordering="state")
    def status(self, obj: Customer) -> SafeString:
        """Show the column “state”."""
        return badge(obj.state, TONES.get(obj.state, "neutral"))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Tell who set the state, and what was refused, to those who may see the trail and the decisions."""
        allowed = request.user.has_perms(["audit.view_auditevent", "verification.view_decision"])
        return [part for part in self.fieldsets if allowed or part[0] != "State and attempts"]

    @admin.display(description="state set")
    def state_since(self, obj: Customer) -> str | SafeString:
        """Show who brought the customer into the present state, when and why, as the trail says."""
        events = AuditEvent.objects.filter(customer_id=obj.customer_id, after__state=obj.state)
        event = events.exclude(before__state=obj.state).order_by("-sequence").first()
        if event is None:
            return "—"
        said = event.data.get("reason") or event.action.replace(".", " ").replace("_", " ")
        if refusals := event.data.get("refusals"):
            said = f"{said}, after {refusals} refusals in a row"
        return format_html("{:s} by {}: {}", f"{event.occurred_at:%d %b %Y, %H:%M}", event.actor, said)

    @admin.display(description="refused in a row")
    def refused_in_a_row(self, obj: Customer) -> str:
        """Show the attempts that count towards a delay and a lock."""
        limits = policies.in_force().verification
        if obj.refused_at is None:
            return f"0, of {limits.lock_after} that lock"
        return f"{obj.refusals}, of {limits.lock_after} that lock; the last on {obj.refused_at:%d %b %Y, %H:%M}"

    @admin.display(description="delayed until")
    def delayed(self, obj: Customer) -> str | SafeString:
        """Show until when no call is scored."""
        limits = policies.in_force().verification
        until = delayed_until(limits, obj.refusals, obj.refused_at, timezone.now())
        return "no delay" if until is None else badge(f"{until:%d %b %Y, %H:%M:%S}", "busy")

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: Customer) -> str:
        """Show the column “net speech”."""
        return f"{obj.speech_seconds:.1f} s"

    @admin.display(description="consent")
    def consent(self, obj: Customer) -> str:
        """Show the column “consent”."""
        consents = getattr(obj, "current_consents", [])
        return ", ".join(f"{consent.get_purpose_display()} ({consent.text_version})" for consent in consents) or "none"
