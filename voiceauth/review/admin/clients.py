"""API clients: create, rotate the token (it is shown once), change rate limits, revoke."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.utils.safestring import SafeString

from voiceauth.platform.api import clients
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.api.roles import SCOPES
from voiceauth.platform.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge, pretty


class Lifetime(forms.Form):
    """How long a token is valid."""

    days = forms.IntegerField(
        label="Valid for days",
        required=False,
        min_value=1,
        max_value=3650,
        help_text=f"If empty: {settings.VOICEAUTH_TOKEN_LIFETIME_DAYS} days, as VOICEAUTH_TOKEN_LIFETIME_DAYS sets.",
    )

    def clean_days(self) -> timedelta | None:
        """Return the lifetime, or ``None`` for the default."""
        return timedelta(days=self.cleaned_data["days"]) if self.cleaned_data["days"] else None


class NewClient(Lifetime):
    """Name, role and scopes of a new API client."""

    name = forms.CharField(max_length=64, help_text="What calls us: “Teller app”, “IVR Vienna”. Never given twice.")
    role = forms.ChoiceField(choices=ApiClient.Role.choices)
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(SCOPES)],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="If none is chosen: all scopes of the role.",
    )
    field_order = ("name", "role", "scopes", "days")


class Rotation(Lifetime):
    """How long the old token stays valid."""

    overlap = forms.IntegerField(
        label="Overlap in hours",
        initial=24,
        min_value=0,
        max_value=720,
        help_text="How long the old token stays valid.",
    )


class Rates(forms.Form):
    """A rate limit for each class of calls. An empty field leaves it to the settings."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for kind in clients.CLIENT_CLASSES:
            self.fields[kind] = forms.IntegerField(
                label=f"{kind.capitalize()} calls a minute",
                required=False,
                min_value=1,
                max_value=clients.MOST_CALLS,
                help_text=f"If empty: {settings.VOICEAUTH_RATE_LIMITS[kind]}.",
            )


def _create(_: None, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    client, token = clients.create_client(
        name=given["name"], role=given["role"], scopes=given["scopes"], actor=actor, expires_in=given["days"]
    )
    return {"client": client, "token": token}


def _rotate(client: ApiClient, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    overlap = timedelta(hours=given["overlap"])
    client, token = clients.rotate_client(name=client.name, actor=actor, overlap=overlap, expires_in=given["days"])
    return {"client": client, "token": token}


def _limit(client: ApiClient, actor: Actor, given: dict[str, Any]) -> str:
    rates = {kind: rate for kind, rate in given.items() if rate is not None}
    clients.set_rate_limits(name=client.name, rate_limits=rates, actor=actor)
    return f"The rate limits of {client.name} were changed."


def _revoke(client: ApiClient, actor: Actor, _: dict[str, Any]) -> str:
    clients.revoke_client(name=client.name, actor=actor)
    return f"{client.name} was revoked. Its tokens are refused from now on."


@admin.register(ApiClient)
class ApiClientAdmin(ReadOnlyAdmin):
    """API clients and their tokens."""

    empty = "No program may call the API yet. Create a client, and give its token to the program."
    list_display = ["name", "role", "status", "last_used_at", "created_at", "expires_at", "revoked_at"]
    list_filter = ["role"]
    search_fields = ["name"]
    fieldsets = [  # never the tokens' hashes
        ("Client", {"fields": ["name", "role", "limited_to", "rates", "status"]}),
        ("Times", {"fields": ["created_at", "last_used_at", "expires_at", "previous_expires_at", "revoked_at"]}),
        ("Token", {"fields": ["issued_by"]}),
    ]
    operations = [
        Action(
            name="create",
            label="New API client",
            permission="review.manage_clients",
            question="Create an API client? Its token is shown once, on the next page. Only a hash is stored.",
            run=_create,
            form=NewClient,
            on_list=True,
            done_template="review/token.html",
        ),
        Action(
            name="rotate",
            label="Rotate token",
            permission="review.manage_clients",
            question="Give {object} a new token? It is shown once, on the next page.",
            run=_rotate,
            form=Rotation,
            available=lambda client: client.revoked_at is None,
            done_template="review/token.html",
        ),
        Action(
            name="limit",
            label="Change rate limits",
            permission="review.manage_clients",
            question="How often may {object} call? What you enter replaces all earlier limits.",
            run=_limit,
            form=Rates,
            available=lambda client: client.revoked_at is None,
        ),
        Action(
            name="revoke",
            label="Revoke token",
            permission="review.manage_clients",
            question="Revoke {object}? Its calls are refused from now on. This cannot be undone.",
            run=_revoke,
            available=lambda client: client.revoked_at is None,
            danger=True,
        ),
    ]

    @admin.display(description="state")
    def status(self, obj: ApiClient) -> SafeString:
        """Show the column “state”."""
        return badge(obj.status, {"valid": "good", "expires soon": "busy"}.get(obj.status, "bad"))

    @admin.display(description="limited to")
    def limited_to(self, obj: ApiClient) -> str:
        """Show the column “limited to”."""
        return ", ".join(obj.scopes) or "all scopes of its role"

    @admin.display(description="own rate limits")
    def rates(self, obj: ApiClient) -> SafeString:
        """Show the column “own rate limits”."""
        return pretty(obj.rate_limits)
