"""The policy: its versions, what each changed, and a form that puts the next one into force."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.forms.utils import pretty_name
from django.http import HttpRequest
from django.utils.safestring import SafeString
from rest_framework import serializers

from mltraining.messages import CHANNEL
from voiceauth.platform.audit import Actor
from voiceauth.policies import document, selectors, services
from voiceauth.policies.models import PolicyVersion
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge, pretty

# A part of the document: its title, how its fields are named in the form, and what they may hold.
ENROLLMENT, VERIFICATION, ENRICHMENT, TIERS, SIGN_IN = "enrollment", "verification", "enrichment", "tiers", "sign_in"
ANOTHER = "+"  # no name has a +


def _name() -> forms.Field:
    help_text = "Small letters, digits, - and _; as the API's calls name it."
    return forms.RegexField(document.NAME_OR_NOTHING, required=False, label="Name", help_text=help_text)


def _channels(in_force: Mapping[str, str]) -> forms.Field:
    return forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4}),
        required=False,
        label="Customer's channel by API client",
        initial="\n".join(f"{client}: {channel}" for client, channel in in_force.items()),
        help_text="One client a line, as in “ivr-1: right”: left, right, mono, or a number from 0. It counts where the "
        "channels of a recording differ and the call names none.",
    )


class PolicyForm(forms.Form):
    """One field a limit; an empty one departs from nothing. Shows what holds where it is empty.

    An origin takes what it leaves empty from every origin's limits, and these from the settings.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version, defaults = selectors.versions().first(), document.read({}, 0)
        content, number = (version.content, version.number) if version else ({}, 0)
        policy = document.read(content, number)  # of the same version: what is based on it may not mix two
        self.groups_of: list[tuple[str, list[str]]] = []
        self._part("Why", {"reason": forms.CharField(max_length=500, help_text="For the trail.")})
        self.fields["based_on"] = forms.IntegerField(widget=forms.HiddenInput, initial=policy.number)

        every = policy.origins[document.DEFAULT_ORIGIN]
        origins = content.get(ENROLLMENT, {})
        for name in [document.DEFAULT_ORIGIN, *sorted(origins.keys() - {document.DEFAULT_ORIGIN})]:
            is_default = name == document.DEFAULT_ORIGIN
            title = "Enrollment, every origin" if is_default else f"Enrollment, {name}"
            holds = defaults.origins[name] if is_default else every
            limits = _limits(document.EnrollmentDocument(), holds, origins.get(name, {}))
            self._part(title, limits, ENROLLMENT, name)
        limits = _limits(document.EnrollmentDocument(), every, {})
        self._part("Enrollment, another origin", {"name": _name(), **limits}, ENROLLMENT, ANOTHER)

        limits = _limits(document.VerificationDocument(), defaults.verification, content.get(VERIFICATION, {}))
        self._part("Verification", limits, VERIFICATION)

        limits = _limits(document.EnrichmentDocument(), defaults.enrichment, content.get(ENRICHMENT, {}))
        self._part("Confirmed calls in a voiceprint", limits, ENRICHMENT)

        tiers = content.get(TIERS, {})
        for name in sorted(policy.tiers):
            limits = _limits(document.TierDocument(), defaults.tiers.get(name, document.Tier), tiers.get(name, {}))
            self._part(f"Transactions, {name}", limits, TIERS, name)
        limits = _limits(document.TierDocument(), document.Tier, {})
        self._part("Transactions, another tier", {"name": _name(), **limits}, TIERS, ANOTHER)

        limits = _limits(document.SignInDocument(), defaults.sign_in, content.get(SIGN_IN, {}))
        self._part("Sign-in of staff", limits, SIGN_IN)

        self._part("Recordings with several channels", {"channels": _channels(policy.channels)})

    def _part(self, title: str, fields: Mapping[str, forms.Field], *path: str) -> None:
        names = [".".join([*path, name]) for name in fields]
        self.fields |= dict(zip(names, fields.values(), strict=True))
        self.groups_of.append((title, names))

    @property
    def groups(self) -> Iterator[tuple[str, list[forms.BoundField], bool]]:
        """Title and fields of each part, and whether it is open, for the page."""
        for number, (title, names) in enumerate(self.groups_of):
            yield title, [self[name] for name in names], number == 0 or any(name in self.errors for name in names)

    def clean(self) -> dict[str, Any]:
        """Add ``content``, the document of what was filled in."""
        given = super().clean() or {}
        content: dict[str, Any] = {}
        for path, value in given.items():
            part, _, rest = path.partition(".")
            if not rest or value in (None, "", []):
                continue
            called, _, name = rest.rpartition(".")
            into = content.setdefault(part, {})
            if called:
                into = into.setdefault(called, {})
            into[name] = value
        for part in (ENROLLMENT, TIERS):
            self._name_another(part, content)
        if channels := self._given_channels(given.get("channels") or ""):
            content["channels"] = channels
        for name, tier in content.get(TIERS, {}).items():
            if "target_far" not in tier:
                own = ANOTHER if f"{TIERS}.{name}.target_far" not in self.fields else name
                self.add_error(f"{TIERS}.{own}.target_far", "Every tier needs a target false-accept rate.")
        return {**given, "content": content}

    def _given_channels(self, text: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in filter(str.strip, text.splitlines()):
            client, _, channel = (word.strip() for word in line.rpartition(":"))
            if not client or not re.match(CHANNEL, channel):
                self.add_error(
                    "channels", f"“{line.strip()}” does not name a client and a channel, as in: ivr-1: right"
                )
            found[client] = channel
        return found

    def _name_another(self, part: str, content: dict[str, Any]) -> None:
        another = content.get(part, {}).pop(ANOTHER, None)
        if another is None:
            return
        name = another.pop("name", None)
        field = f"{part}.{ANOTHER}.name"
        if name is None:
            self.add_error(field, "Give it a name.")
        elif f"{part}.{name}.{next(iter(another), 'name')}" in self.fields or name in content[part]:
            self.add_error(field, "Another one has this name already.")
        else:
            content[part][name] = another


def _limits(part: serializers.Serializer[Any], holds: Any, departs: Mapping[str, Any]) -> dict[str, forms.Field]:
    """Make a form field for each limit of the document. It is filled where the document departs from the default."""
    return {
        name: _field(name, field, getattr(holds, name, None), departs.get(name)) for name, field in part.fields.items()
    }


def _field(name: str, field: serializers.Field[Any, Any, Any, Any], holds: Any, departs: Any) -> forms.Field:
    common = {"label": pretty_name(name), "required": False, "help_text": field.help_text, "initial": departs}
    match field:
        case serializers.BooleanField():
            empty = "" if holds is None else f"as it is: {'yes' if holds else 'no'}"
            return forms.TypedChoiceField(
                choices=[("", empty), ("True", "yes"), ("False", "no")],
                coerce=lambda word: word == "True",
                empty_value=None,
                **common,
            )
        case serializers.MultipleChoiceField():
            choices = [(choice, pretty_name(choice)) for choice in field.choices]
            return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple, **common)
        case serializers.IntegerField():
            shown: forms.Field = forms.IntegerField(min_value=field.min_value, max_value=field.max_value, **common)
        case serializers.FloatField():
            shown = forms.FloatField(min_value=field.min_value, max_value=field.max_value, **common)
        case _:
            shown = forms.RegexField(document.NAME_OR_NOTHING, **common)
    if holds is not None:
        shown.widget.attrs["placeholder"] = str(holds)
    return shown


def _change(_: None, actor: Actor, given: dict[str, Any]) -> str:
    version = services.change(content=given["content"], reason=given["reason"], based_on=given["based_on"], actor=actor)
    said = f"{str(version).capitalize()} is in force, from the next call on."
    return " ".join([said, *map(str, selectors.unmet_rates())])


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ReadOnlyAdmin):
    """Versions of the policy."""

    empty = "The default policy is in force. “Change the policy” makes version 1."
    list_display = ["number", "status", "reason", "created_by", "created_at"]
    fields = ["number", "status", "reason", "created_by", "created_at", "changed", "whole"]
    operations = [
        Action(
            name="change",
            label="Change the policy",
            permission="review.change_policy",
            question="What is filled in departs from the defaults; an empty field shows what holds then. The new "
            "version is in force from the next call on, and the version before stays on record.",
            run=_change,
            form=PolicyForm,
            on_list=True,
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyVersion]:
        """Select the rows of the list."""
        later = PolicyVersion.objects.filter(number__gt=OuterRef("number"))
        return super().get_queryset(request).annotate(replaced=Exists(later))

    @admin.display(description="state")
    def status(self, obj: PolicyVersion) -> SafeString:
        """Show the column “state”."""
        replaced = obj.replaced  # type: ignore[attr-defined]
        return badge("replaced", "neutral") if replaced else badge("in force", "good")

    @admin.display(description="what it changed")
    def changed(self, obj: PolicyVersion) -> SafeString:
        """Show the column “what it changed”."""
        earlier = selectors.versions().filter(number__lt=obj.number).first()
        before = _flat(document.read(earlier.content if earlier else {}, 0).as_dict())
        after = _flat(document.read(obj.content, 0).as_dict())
        names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
        return pretty({name: f"{before.get(name, '—')} → {after.get(name, '—')}" for name in names})

    @admin.display(description="everything spelt out")
    def whole(self, obj: PolicyVersion) -> SafeString:
        """Show the column “everything spelt out”."""
        return pretty(document.read(obj.content, obj.number).as_dict())

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list."""
        in_force = selectors.in_force()
        note = "" if in_force.number else "No version yet: the settings' defaults are in force."
        return super().changelist_view(request, {"subtitle": note, **(extra_context or {})})


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
