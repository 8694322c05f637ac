"""Review cases: what is suspected, the evidence with its audio, and what a reviewer does about it."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString

from enrollment.models import Customer, SealedAudio
from voiceauth.platform.audit import Actor
from voiceauth.review import evidence
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter, ValuesFilter
from voiceauth.review.admin.watchlists import NewVoice, listed
from voiceauth.review.charts import badge
from voiceauth.screening import cases
from voiceauth.screening.models import Fraudster, ReviewCase, Watchlist
from voiceauth.verification.errors import NoAudio
from voiceauth.verification.fraudsters import add_caller
from voiceauth.verification.models import CallAudio

State, Resolution = ReviewCase.State, ReviewCase.Resolution
TONES = {State.OPEN: "bad", State.ASSIGNED: "busy"}
NEXT = "Next open case"
BACKEND = "django.contrib.auth.backends.ModelBackend"  # which knows people's permissions
RESULTS = {Resolution.CONFIRMED_FRAUD: "bad", Resolution.FALSE_ALARM: "good"}


class Comment(forms.Form):
    """A comment on a case."""

    text = forms.CharField(label="Comment", max_length=2000, widget=forms.Textarea(attrs={"rows": 4}))


class Assignment(forms.Form):
    """Who is to handle a case: one of those who may."""

    to = forms.ChoiceField(label="Assign to", choices=lambda: [("", "Choose one"), *_reviewers()])


class Closing(forms.Form):
    """How a case ended. Nothing is preselected, because calibration learns from the answer."""

    resolution = forms.ChoiceField(choices=[("", "Choose one"), *Resolution.choices])
    comment = forms.CharField(
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="How you came to this resolution, for whoever reads the case later.",
    )


class Reopening(forms.Form):
    """Why a case is reopened."""

    reason = forms.CharField(
        max_length=2000, widget=forms.Textarea(attrs={"rows": 4}), help_text="It is kept as a comment and in the trail."
    )


class Watching(NewVoice):
    """Which watchlist the voice of a call goes on."""

    watchlist = forms.ModelChoiceField(Watchlist.objects.all(), empty_label=None)
    field_order = ("watchlist",)


def _reviewers() -> list[tuple[str, str]]:
    permitted = User.objects.with_perm("screening.handle_reviewcase", backend=BACKEND).order_by("username")
    return [(f"user:{name}"[:128], name) for name in permitted.values_list("username", flat=True)]


def _take(case: ReviewCase, actor: Actor, _: dict[str, Any]) -> str:
    cases.assign(number=case.number, to=actor.name, actor=actor)
    return f"{case} is assigned to you."


def _assign(case: ReviewCase, actor: Actor, given: dict[str, Any]) -> str:
    cases.assign(number=case.number, to=given["to"], actor=actor)
    return f"{case} is assigned to {given['to'].removeprefix('user:')}."


def _comment(case: ReviewCase, actor: Actor, given: dict[str, Any]) -> str:
    cases.comment(number=case.number, text=given["text"], actor=actor)
    return "Your comment was added."


def _close(case: ReviewCase, actor: Actor, given: dict[str, Any]) -> str:
    cases.close(number=case.number, **given, actor=actor)
    return f"{case} is closed."


def _reopen(case: ReviewCase, actor: Actor, given: dict[str, Any]) -> str:
    cases.reopen(number=case.number, reason=given["reason"], actor=actor)
    return f"{case} is open again."


def _watch(case: ReviewCase, actor: Actor, given: dict[str, Any]) -> str:
    call = _recorded_calls(case).order_by("-decision__created_at").first()
    if call is None:
        raise NoAudio
    watchlist = given.pop("watchlist")
    return listed(add_caller(watchlist_id=watchlist.pk, decision_id=call.pk, **given, actor=actor), watchlist)


def _recorded_calls(case: ReviewCase) -> "QuerySet[CallAudio]":
    return CallAudio.objects.filter(decision_id__in=_ids(case, "decision_id"))


def _may_be_watched(case: ReviewCase) -> bool:
    """Tell whether the voice of a call in the case is a fraudster's: not in a case about the customer's own voice."""
    is_fraud = case.resolution == Resolution.CONFIRMED_FRAUD and case.kind not in ReviewCase.OWN_VOICE
    return is_fraud and _recorded_calls(case).exists()


def _ids(case: ReviewCase, name: str) -> list[UUID]:
    return [UUID(each[name]) for each in case.evidence if name in each]


def _kept(table: type[Model], ids: list[UUID]) -> set[str]:
    """Return those of ``ids`` that have a row in ``table``."""
    return {str(pk) for pk in table._default_manager.filter(pk__in=ids).values_list("pk", flat=True)}


def _is_open(case: ReviewCase) -> bool:
    return case.state != State.CLOSED


@admin.register(ReviewCase)
class ReviewCaseAdmin(ReadOnlyAdmin):
    """Review cases."""

    empty = "There is no case. One opens for a replay, a voice on a watchlist, or one voice that claims many customers."
    list_display = ["number", "kind", "status", "customer", "hits", "assigned_to", "opened_at", "closed_at"]
    list_filter = ["state", "kind", "resolution", ("assigned_to", ValuesFilter), ("opened_at", DaysFilter)]
    sortable_by = ["number"]
    search_fields = ["customer_id__exact"]
    search_help_text = "A customer's identifier, exactly."
    change_form_template = "review/case.html"
    fields = [("kind", "status", "customer", "hits"), ("assigned_to", "opened_at", "closed_at", "closed_by")]
    link_keys = {"Customer": "u", "Audit trail": "t", NEXT: "n"}
    operations = [
        Action(
            name="take",
            key="a",
            label="Assign to me",
            permission="screening.handle_reviewcase",
            question="Assign {object} to yourself?",
            run=_take,
            available=_is_open,
        ),
        Action(
            name="assign",
            key="s",
            label="Assign",
            permission="screening.handle_reviewcase",
            question="Who should handle {object}?",
            run=_assign,
            form=Assignment,
            available=_is_open,
        ),
        Action(
            name="comment",
            key="c",
            label="Comment",
            permission="screening.handle_reviewcase",
            question="What should others know about {object}?",
            run=_comment,
            form=Comment,
            available=_is_open,
        ),
        Action(
            name="close",
            key="x",
            label="Close case",
            permission="screening.handle_reviewcase",
            question="How did {object} end? The next calibration learns from confirmed fraud and from false alarms.",
            run=_close,
            form=Closing,
            available=_is_open,
        ),
        Action(
            name="reopen",
            key="o",
            label="Reopen case",
            permission="screening.handle_reviewcase",
            question="Reopen {object}? It loses its resolution, and calibration ignores it until it is closed again. "
            "A voice that was put on a watchlist stays there until you erase it.",
            run=_reopen,
            form=Reopening,
            available=lambda case: case.state == State.CLOSED,
        ),
        Action(
            name="watch",
            key="w",
            label="Add to a watchlist",
            permission="screening.manage_watchlist",
            question="Put the voice of the latest call of {object} on a watchlist?",
            run=_watch,
            form=Watching,
            available=_may_be_watched,
            danger=True,
        ),
    ]

    @admin.display(description="state", ordering="state")
    def status(self, obj: ReviewCase) -> SafeString:
        """Show the column “state”."""
        if obj.resolution:
            return badge(obj.resolution, RESULTS.get(Resolution(obj.resolution), "neutral"))
        return badge(obj.state, TONES.get(State(obj.state), "neutral"))

    @admin.display(description="customer", ordering="customer_id")
    def customer(self, obj: ReviewCase) -> str:
        """Show the column “customer”."""
        return obj.customer_id or "—"

    def related(self, request: HttpRequest, obj: ReviewCase) -> list[tuple[str, str]]:
        """Link to related pages."""
        trail = f"{reverse('admin:audit_auditevent_changelist')}?{urlencode({'target': f'case:{obj.number}'})}"
        pages = [("Audit trail", trail)]
        customer = Customer.objects.filter(customer_id=obj.customer_id).only("pk").first()
        if customer is not None:
            pages.insert(0, ("Customer", reverse("admin:enrollment_customer_change", args=[customer.pk])))
        others = ReviewCase.objects.exclude(state=State.CLOSED).exclude(pk=obj.pk)
        following = others.filter(pk__lt=obj.pk).first() or others.first()  # the newest first, and around
        if following is not None:
            pages.append((NEXT, reverse("admin:screening_reviewcase_change", args=[following.pk])))
        return pages

    def detail_context(self, request: HttpRequest, obj: ReviewCase) -> dict[str, Any]:
        """Return more context for the detail page."""
        plays = request.user.has_perm("review.play_audio")
        calls, samples = _kept(CallAudio, _ids(obj, "decision_id")), _kept(SealedAudio, _ids(obj, "sample_id"))
        voices = _kept(Fraudster, _ids(obj, "fraudster_id"))

        def shown(each: dict[str, Any]) -> dict[str, Any]:
            decision, sample, fraudster = (each.get(name, "") for name in ("decision_id", "sample_id", "fraudster_id"))
            audio = ""
            if plays and decision in calls:
                audio = reverse("admin:verification_decision_audio", args=[decision])
            elif plays and sample in samples:
                audio = reverse("admin:enrollment_customer_sample_audio", args=[sample])
            return {
                **each,
                "at": parse_datetime(each["at"]),
                "audio": audio,
                "decision": decision and reverse("admin:verification_decision_change", args=[decision]),
                "fraudster": fraudster in voices and reverse("admin:screening_fraudster_change", args=[fraudster]),
                "others": [*each.get("customers", []), *([each["customer_id"]] if each.get("customer_id") else [])],
            }

        return {
            "evidence": [shown(each) for each in reversed(obj.evidence)],
            "comments": obj.comments.all(),
            **evidence.of_case(request, obj),
        }
