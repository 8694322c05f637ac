"""Recordings that wait for a second person, and the columns that every list of recordings shares."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from enrollment import selectors
from enrollment.models import AudioSample, ConfirmedCall
from enrollment.samples import approve_sample, remove_sample
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge


class SampleColumns:
    """The columns of a recording's quality report, with units."""

    @admin.display(description="net speech")
    def speech(self, obj: AudioSample) -> str:
        """Show the column “net speech”."""
        return f"{obj.speech_seconds:.1f} s"

    @admin.display(description="length")
    def duration(self, obj: AudioSample) -> str:
        """Show the column “length”."""
        return f"{obj.duration_seconds:.1f} s"

    @admin.display(description="signal to noise")
    def snr(self, obj: AudioSample) -> str:
        """Show the column “signal to noise”."""
        return f"{obj.snr_db:.1f} dB"

    @admin.display(description="clipped")
    def clipping(self, obj: AudioSample) -> str:
        """Show the column “clipped”."""
        return f"{obj.clipping_ratio:.2%}"

    @admin.display(description="format")
    def format(self, obj: AudioSample) -> str:
        """Show the column “format”."""
        return f"{obj.container} {obj.codec}, {obj.sample_rate / 1000:g} kHz"

    @admin.display(description="comes from")
    def source(self, obj: AudioSample) -> str | SafeString:
        """Show the origin of an enrolled recording, or the decision of a confirmed call and what confirmed it."""
        if not hasattr(obj, "confirmation"):
            return obj.origin
        address = reverse("admin:verification_decision_change", args=[obj.confirmation.decision_id])
        return format_html('<a href="{}">call</a>, confirmed by {}', address, method_label(obj.confirmation))

    @admin.display(description="held for")
    def waits(self, obj: AudioSample) -> str | SafeString:
        """Show the column “held for”."""
        reasons = ", ".join(reason.replace("_", " ").lower() for reason in obj.held_for)
        return badge(reasons, "busy") if reasons else "—"


def method_label(call: ConfirmedCall) -> str:
    """Return the factor that confirmed a call, in words."""
    return call.method.replace("_", " ")


def player(sample: AudioSample) -> SafeString:
    """Return an ``<audio>`` element that plays the recording."""
    source = reverse("admin:enrollment_customer_sample_audio", args=[sample.pk])
    return format_html('<audio controls controlslist="nodownload" preload="none" src="{}"></audio>', source)


def _approve(sample: AudioSample, actor: Actor, _: dict[str, Any]) -> str:
    approve_sample(customer_id=sample.customer.customer_id, sample_id=sample.pk, actor=actor)
    return f"The recording was approved. It counts for {sample.customer.customer_id} from now on."


def _remove(sample: AudioSample, actor: Actor, _: dict[str, Any]) -> str:
    customer_id = sample.customer.customer_id
    remove_sample(customer_id=customer_id, sample_id=sample.pk, only_held=True, actor=actor)
    return f"The recording of {customer_id} was deleted. It never counted."


@admin.register(AudioSample)
class HeldSampleAdmin(SampleColumns, ReadOnlyAdmin):
    """Recordings that a second person must approve."""

    empty = "No recording waits for a second person. Which ones do is part of the policy."
    list_display = ["created_at", "of", "waits", "source", "speech", "snr", "created_by"]
    list_filter = ["origin"]
    search_fields = ["customer__customer_id__exact"]
    search_help_text = "A customer's identifier, exactly."
    fields = ["of", "waits", "source", "speech", "duration", "snr", "clipping", "format", "created_at", "created_by"]
    operations = [
        Action(
            name="approve",
            label="Approve",
            permission="review.approve_enrollment",
            question="Approve the {object}? Listen whether it is this customer's voice: it counts from then on. You "
            "cannot approve a recording that you brought in.",
            run=_approve,
        ),
        Action(
            name="remove",
            label="Remove",
            permission="review.approve_enrollment",
            question="Delete the {object}? This cannot be undone.",
            run=_remove,
            danger=True,
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AudioSample]:
        """Select the rows of the list."""
        return selectors.held_samples()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Offer the audio to those who may listen."""
        return [*super().get_fields(request, obj), *(["listen"] if request.user.has_perm("review.play_audio") else [])]

    def _back(self, obj: Any) -> str:
        """Go back to the list where the recording is not held any more, because it has no page here then."""
        still = obj is not None and AudioSample.objects.filter(pk=obj.pk).exclude(held_for=[]).exists()
        return super()._back(obj if still else None)

    def related(self, request: HttpRequest, obj: AudioSample) -> list[tuple[str, str]]:
        """Link to the customer, and to the review cases about them, which say what is suspicious."""
        pages = [("Customer", reverse("admin:enrollment_customer_change", args=[obj.customer_id]))]
        if request.user.has_perm("screening.view_reviewcase"):
            query = urlencode({"q": obj.customer.customer_id})
            pages.append(("Review cases", f"{reverse('admin:screening_reviewcase_changelist')}?{query}"))
        return pages

    @admin.display(description="customer", ordering="customer__customer_id")
    def of(self, obj: AudioSample) -> str:
        """Show the column “customer”."""
        return obj.customer.customer_id

    @admin.display(description="listen")
    def listen(self, obj: AudioSample) -> SafeString:
        """Show the column “listen”."""
        return player(obj)
