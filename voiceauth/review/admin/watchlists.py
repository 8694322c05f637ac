"""Watchlists and the voices on them."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from voiceauth.platform.api.uploads import CHANNEL_OR_NOTHING
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin, Why
from voiceauth.review.playback import answer, play_fraudster
from voiceauth.screening import selectors, watchlists
from voiceauth.screening.models import Fraudster, FraudsterAudio, Watchlist
from voiceauth.verification.fraudsters import add_recording


class NewWatchlist(forms.Form):
    """The name of a watchlist."""

    name = forms.CharField(max_length=64)
    description = forms.CharField(max_length=500, required=False)


class NewVoice(forms.Form):
    """What is said about any voice that goes on a watchlist."""

    note = forms.CharField(max_length=500, required=False, help_text="Give no name here.")
    another_person = forms.BooleanField(
        required=False,
        label="Not the known fraudster",
        help_text="Tick this if the voice sounds like a known fraudster's but is somebody else's.",
    )
    reason = forms.CharField(
        max_length=500,
        required=False,
        label="Reason for approval",
        help_text="Only for a customer's own voice: why it must be on the watchlist. A second person must approve it.",
    )


class Recording(NewVoice):
    """A recording whose voice goes on a watchlist."""

    audio = forms.FileField(
        label="Recording",
        help_text="Any format that an enrollment may have.",
        error_messages={"required": "Choose a recording that is no larger than an upload may be."},
    )
    channel = forms.RegexField(
        CHANNEL_OR_NOTHING,
        required=False,
        help_text="Of a recording whose channels differ: left, right, a number from 0, or mono to mix them.",
    )
    field_order = ("audio", "channel")

    def clean_audio(self) -> bytes:
        """Read the uploaded file."""
        return bytes(self.cleaned_data["audio"].read())


def listed(made: Fraudster | Approval, watchlist: Watchlist) -> str:
    """Tell whether the voice is on the watchlist, or waits for a second person."""
    if isinstance(made, Approval):
        return (
            "This is a customer's own voice, so a second person must approve the request. Repeat it after the approval."
        )
    return f"{made} is on the watchlist “{watchlist}”. Every call and every enrollment is compared with it from now on."


def _create(_: None, actor: Actor, given: dict[str, Any]) -> str:
    return f"Watchlist {watchlists.create_watchlist(**given, actor=actor)} was created."


def _add(watchlist: Watchlist, actor: Actor, given: dict[str, Any]) -> str:
    return listed(add_recording(watchlist_id=watchlist.pk, **given, actor=actor), watchlist)


def _delete(watchlist: Watchlist, actor: Actor, given: dict[str, Any]) -> str:
    approval = watchlists.request_deletion(watchlist_id=watchlist.pk, reason=given["reason"], actor=actor)
    return f"A second person must approve the deletion until {approval.expires_at:%d %b %Y, %H:%M}."


def _erase(fraudster: Fraudster, actor: Actor, _: dict[str, Any]) -> str:
    erasure = watchlists.erase_fraudster(fraudster_id=fraudster.pk, actor=actor)
    return f"{fraudster} was erased. The audit trail stays. Follow its recording under Erasures: {erasure.pk}."


@admin.register(Watchlist)
class WatchlistAdmin(ReadOnlyAdmin):
    """Watchlists."""

    list_display = ["name", "description", "is_default", "voices", "created_by", "created_at"]
    fields = ["name", "description", "is_default", "voices", "created_by", "created_at"]
    operations = [
        Action(
            name="create",
            label="New watchlist",
            permission="screening.manage_watchlist",
            question="Create a watchlist? Every call and every enrollment is compared with the voices on it.",
            run=_create,
            form=NewWatchlist,
            on_list=True,
        ),
        Action(
            name="add",
            label="Add a recording",
            permission="screening.manage_watchlist",
            question="Put the voice of a recording on the watchlist “{object}”? "
            "Add the voice of a call from its review case instead.",
            run=_add,
            form=Recording,
        ),
        Action(
            name="delete-list",
            label="Delete watchlist",
            permission="screening.manage_watchlist",
            question="Request the deletion of the watchlist “{object}”? Fraudsters on no other "
            "watchlist are erased with it. A second person must approve the request.",
            run=_delete,
            form=Why,
            available=lambda watchlist: not watchlist.is_default,
            danger=True,
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Watchlist]:
        """Select the rows of the list."""
        return selectors.watchlists()

    @admin.display(description="fraudsters")
    def voices(self, obj: Watchlist) -> int:
        """Show the column “fraudsters”."""
        return obj.fraudster_count  # type: ignore[attr-defined]

    def related(self, request: HttpRequest, obj: Watchlist) -> list[tuple[str, str]]:
        """Link to related pages."""
        return [("Fraudsters", f"{reverse('admin:screening_fraudster_changelist')}?watchlists__id__exact={obj.pk}")]


@admin.register(Fraudster)
class FraudsterAdmin(ReadOnlyAdmin):
    """The voices on watchlists."""

    empty = "No voice is on a watchlist. Add one on the page of a watchlist, or from a case that was closed as fraud."
    list_display = ["__str__", "on", "note", "source", "speech", "created_by", "created_at", "expires_at"]
    list_filter = ["watchlists"]
    change_form_template = "review/fraudster.html"
    fields = ["id", "on", "note", "source", "speech", "created_by", "created_at", "expires_at"]
    operations = [
        Action(
            name="erase",
            label="Erase",
            permission="screening.manage_watchlist",
            question="Erase {object}? The recording and the voiceprints are deleted, from every watchlist. This cannot "
            "be undone.",
            run=_erase,
            danger=True,
        )
    ]

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page itself."""
        view = self.admin_site.admin_view(require_GET(self.play))
        return [path("<uuid:fraudster_id>/audio/", view, name="screening_fraudster_audio"), *super().get_urls()]

    def play(self, request: HttpRequest, fraudster_id: UUID) -> HttpResponse:
        """Play the audio, and record that in the audit trail."""
        return answer(
            request, lambda actor: play_fraudster(fraudster_id=fraudster_id, actor=actor), f"voice-{fraudster_id}"
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Fraudster]:
        """Select the rows of the list."""
        return super().get_queryset(request).defer("data_key").prefetch_related("watchlists")

    def detail_context(self, request: HttpRequest, obj: Fraudster) -> dict[str, Any]:
        """Return more context for the detail page."""
        plays = request.user.has_perm("review.play_audio") and FraudsterAudio.objects.filter(pk=obj.pk).exists()
        return {"audio_source": reverse("admin:screening_fraudster_audio", args=[obj.pk]) if plays else ""}

    @admin.display(description="watchlists")
    def on(self, obj: Fraudster) -> str:
        """Show the column “watchlists”."""
        return ", ".join(map(str, obj.watchlists.all()))

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: Fraudster) -> str:
        """Show the column “net speech”."""
        return f"{obj.speech_seconds:.1f} s"
