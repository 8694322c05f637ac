"""Customers with their consents and enrollment recordings: erase, lock, unlock, export."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from enrollment.audio_exports import request_audio_export
from enrollment.lifecycle import TRANSITIONS
from enrollment.models import AudioSample, Consent, Customer
from enrollment.services import erase_customer, lock_customer, unlock_customer
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin, ReadOnlyInline
from voiceauth.review.admin.held import SampleColumns, player
from voiceauth.review.charts import badge
from voiceauth.review.playback import answer, play_sample

TONES = {"ENROLLED": "good", "ENROLLING": "busy", "LOCKED": "bad", "OPTED_OUT": "bad", "EXPIRED": "bad"}


class ConsentInline(ReadOnlyInline):
    """A customer's consents."""

    model = Consent
    fields = readonly_fields = ("purpose", "text_version", "origin", "granted_at", "granted_by", "withdrawn_at")


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


def _erase(customer: Customer, actor: Actor, _: dict[str, Any]) -> str:
    erasure = erase_customer(customer_id=customer.customer_id, actor=actor)
    return (
        f"Customer {customer.customer_id} is erased; the audit trail stays. "
        f"Follow the deletion of the files under Erasures: {erasure.pk}."
    )


class Why(forms.Form):
    """The reason for a request that a second person must approve."""

    reason = forms.CharField(max_length=500, help_text="For the person who approves it, and for the audit trail.")


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
    return f"{customer.customer_id} is unlocked. Calls are scored again."


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Customers."""

    list_display = ["customer_id", "display_name", "status", "speech", "consent", "enrolled_at", "last_accessed_at"]
    list_filter = ["state"]
    search_fields = ["customer_id", "display_name"]
    fieldsets = [
        (None, {"fields": ["customer_id", "display_name", "status", "speech", "consent"]}),
        ("Times", {"fields": ["created_at", "enrolled_at", "last_accessed_at"]}),
    ]
    inlines = [ConsentInline, AudioSampleInline]
    operations = [
        Action(
            name="erase",
            label="Erase customer",
            permission="review.erase_customer",
            question="Erase {object}? The customer, all recordings and all voiceprints are deleted, and copies in "
            "backups can no longer be read. This cannot be undone. The audit trail keeps what was done.",
            run=_erase,
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
            question="Unlock {object}? Calls are scored again, and the count of refusals starts at zero.",
            run=_unlock,
            form=Reason,
            available=lambda customer: customer.state == Customer.State.LOCKED,
        ),
        Action(
            name="export",
            label="Export recordings",
            permission="review.play_audio",
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

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: Customer) -> str:
        """Show the column “net speech”."""
        return f"{obj.speech_seconds:.1f} s"

    @admin.display(description="consent")
    def consent(self, obj: Customer) -> str:
        """Show the column “consent”."""
        consents = getattr(obj, "current_consents", [])
        return ", ".join(f"{consent.get_purpose_display()} ({consent.text_version})" for consent in consents) or "none"
