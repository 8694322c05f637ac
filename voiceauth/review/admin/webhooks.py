"""Webhooks: where they go, and what became of the latest deliveries."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from voiceauth.platform.audit import Actor
from voiceauth.platform.webhooks import services
from voiceauth.platform.webhooks.events import TYPES
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from voiceauth.review.admin.base import Action, ReadOnlyAdmin
from voiceauth.review.admin.lists import DaysFilter, ValuesFilter
from voiceauth.review.charts import badge, pretty

TONES = {"PENDING": "busy", "DELIVERED": "good", "FAILED": "bad"}
MANAGE = "webhooks.manage_webhookendpoint"


class NewEndpoint(forms.Form):
    """Where webhooks go, and of what."""

    url = forms.CharField(
        label="Address",
        max_length=500,
        help_text="Public addresses need https://. Internal ones must be allowed by VOICEAUTH_WEBHOOK_NETWORKS.",
    )
    events = forms.MultipleChoiceField(
        choices=[(each, each) for each in TYPES], widget=forms.CheckboxSelectMultiple, initial=TYPES
    )


def _create(_: None, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    endpoint, secret = services.create_endpoint(**given, actor=actor)
    return {"endpoint": endpoint, "secret": secret}


def _rotate(endpoint: WebhookEndpoint, actor: Actor, _: dict[str, Any]) -> dict[str, Any]:
    endpoint, secret = services.rotate_secret(endpoint=endpoint, actor=actor)
    return {"endpoint": endpoint, "secret": secret}


def _ping(endpoint: WebhookEndpoint, actor: Actor, _: dict[str, Any]) -> str:
    services.ping(endpoint=endpoint, actor=actor)
    return "A webhook of the type “ping” is on its way. Look at the deliveries."


def _delete(endpoint: WebhookEndpoint, actor: Actor, _: dict[str, Any]) -> str:
    services.delete_endpoint(endpoint=endpoint, actor=actor)
    return f"Nothing is sent to {endpoint.url} any more."


def _redeliver(delivery: WebhookDelivery, actor: Actor, _: dict[str, Any]) -> str:
    services.redeliver(delivery=delivery, actor=actor)
    return "The webhook is on its way again."


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """Endpoints, their secrets and what they are told of."""

    empty = "Nobody is told of anything yet. “New webhook” sends events to an address of yours."
    list_display = ["url", "told_of", "created_by", "created_at"]
    fields = ["id", "url", "told_of", "created_by", "created_at"]
    operations = [
        Action(
            name="create",
            label="New webhook",
            permission=MANAGE,
            question="Where should events be sent? The secret that signs them is shown once, on the next page.",
            run=_create,
            form=NewEndpoint,
            on_list=True,
            done_template="review/secret.html",
        ),
        Action(
            name="ping",
            label="Send a test",
            permission=MANAGE,
            question="Send a webhook of the type “ping” to {object}?",
            run=_ping,
        ),
        Action(
            name="rotate",
            label="Rotate secret",
            permission=MANAGE,
            question="Give {object} a new secret? It is shown once, on the next page. The former one signs nothing "
            "from then on.",
            run=_rotate,
            done_template="review/secret.html",
        ),
        Action(
            name="delete-endpoint",
            label="Delete webhook",
            permission=MANAGE,
            question="Delete {object} with its deliveries? This cannot be undone.",
            run=_delete,
            danger=True,
        ),
    ]

    @admin.display(description="told of")
    def told_of(self, obj: WebhookEndpoint) -> str:
        """Show the column “told of”."""
        return ", ".join(obj.events)

    def related(self, request: HttpRequest, obj: WebhookEndpoint) -> list[tuple[str, str]]:
        """Link to related pages."""
        address = reverse("admin:webhooks_webhookdelivery_changelist")
        return [("Deliveries", f"{address}?endpoint__id__exact={obj.pk}")]


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """The latest deliveries, kept for some weeks."""

    empty = "Nothing has been sent. Deliveries appear here as soon as an event reaches a webhook."
    list_display = ["created_at", "type", "condition", "attempts", "answer", "endpoint"]
    list_filter = ["state", ("type", ValuesFilter), ("created_at", DaysFilter)]
    search_fields = ["event_id__exact"]
    list_select_related = ["endpoint"]
    fields = [
        "event_id",
        "type",
        "endpoint",
        "content",
        "condition",
        "attempts",
        "answer",
        "next_attempt",
        "delivered_at",
    ]
    operations = [
        Action(
            name="redeliver",
            label="Redeliver",
            permission=MANAGE,
            question="Send {object} again? It keeps its id, so that the receiver can tell that it has it already.",
            run=_redeliver,
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        """Select the rows of the list."""
        return super().get_queryset(request).select_related("endpoint")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Let an endpoint's page link to its deliveries."""
        return lookup == "endpoint__id__exact" or super().lookup_allowed(lookup, value, request)

    @admin.display(description="body")
    def content(self, obj: WebhookDelivery) -> SafeString:
        """Show what is signed and sent."""
        return pretty(json.loads(obj.body))

    @admin.display(description="state", ordering="state")
    def condition(self, obj: WebhookDelivery) -> SafeString:
        """Show the column “state”."""
        return badge(obj.state, TONES[obj.state])

    @admin.display(description="latest answer")
    def answer(self, obj: WebhookDelivery) -> str:
        """Show what the latest attempt came to."""
        return obj.error or (str(obj.status) if obj.status else "—")

    @admin.display(description="next attempt")
    def next_attempt(self, obj: WebhookDelivery) -> Any:
        """Show when the next attempt is, where one follows."""
        return obj.next_attempt_at if obj.state == WebhookDelivery.State.PENDING else "none"
