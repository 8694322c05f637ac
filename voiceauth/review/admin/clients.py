"""API clients: create (the token is shown once), revoke."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString

from voiceauth.api.clients import create_client, revoke_client
from voiceauth.api.models import ApiClient
from voiceauth.audit import Actor
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.charts import badge


class NewClient(forms.Form):
    name = forms.CharField(max_length=64, help_text="What calls us: “Teller app”, “IVR Vienna”. Never given twice.")
    role = forms.ChoiceField(choices=ApiClient.Role.choices)
    days = forms.IntegerField(
        label="Valid for days", required=False, min_value=1, max_value=3650, help_text="Empty: until it is revoked."
    )


def _create(_: None, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    lifetime = timedelta(days=given["days"]) if given["days"] else None
    client, token = create_client(name=given["name"], role=given["role"], actor=actor, expires_in=lifetime)
    return {"client": client, "token": token}


def _revoke(client: ApiClient, actor: Actor, _: dict[str, Any]) -> str:
    revoke_client(name=client.name, actor=actor)
    return f"{client.name} is revoked: its token is refused from now on."


@admin.register(ApiClient)
class ApiClientAdmin(ReadOnlyAdmin):
    list_display = ["name", "role", "status", "created_at", "expires_at", "revoked_at"]
    list_filter = ["role"]
    search_fields = ["name"]
    fields = ["name", "role", "status", "created_at", "expires_at", "revoked_at"]  # never the token's hash
    operations = [
        Action(
            name="create",
            label="New API client",
            permission="review.manage_clients",
            question="The token is shown once, on the next page. Only its hash is stored.",
            run=_create,
            form=NewClient,
            on_list=True,
            done_template="review/token.html",
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
        if obj.revoked_at is not None:
            return badge("revoked", "bad")
        if obj.expires_at is not None and obj.expires_at <= timezone.now():
            return badge("expired", "bad")
        return badge("valid", "good")
