"""Webhooks on the dashboard: create one, see what became of its deliveries, send one again."""

import re

import pytest
from django.utils import timezone

from tests.support.people import SignIn
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint

pytestmark = pytest.mark.django_db

CREATE = "/admin/webhooks/webhookendpoint/do/create/"
FORM = {"url": "https://93.184.216.34/hooks", "events": ["case.opened"]}


def test_a_secret_is_shown_once_and_stored_nowhere(signed_in: SignIn) -> None:
    client = signed_in("admin")
    response = client.post(CREATE, FORM)
    secret = re.search(r"whsec_[\w+/=]+", response.content.decode())
    assert secret is not None
    assert "no-store" in response["Cache-Control"]
    endpoint = WebhookEndpoint.objects.get()
    for path in ("", f"{endpoint.pk}/change/"):
        assert "whsec_" not in client.get(f"/admin/webhooks/webhookendpoint/{path}").content.decode()
    assert secret.group() not in str(list(WebhookEndpoint.objects.values()) + list(AuditEvent.objects.values()))
    event = AuditEvent.objects.get(action="webhook.created")
    assert (event.actor, event.after) == ("user:grace", {"url": FORM["url"], "events": ["case.opened"]})


def test_an_internal_address_is_refused_with_what_to_do(signed_in: SignIn) -> None:
    page = signed_in("admin").post(CREATE, FORM | {"url": "https://169.254.169.254/"}).content.decode()
    assert "webhook_target_refused" in page and "VOICEAUTH_WEBHOOK_NETWORKS" in page
    assert not WebhookEndpoint.objects.exists()


def test_a_delivery_says_what_went_wrong_and_can_be_sent_again(signed_in: SignIn) -> None:
    client = signed_in("admin")
    client.post(CREATE, FORM)
    endpoint = WebhookEndpoint.objects.get()
    given = {"state": "FAILED", "attempts": 10, "error": "The receiver answered 500.", "status": 500}
    delivery = endpoint.deliveries.create(type="case.opened", body="{}", next_attempt_at=timezone.now(), **given)
    page = client.get(f"/admin/webhooks/webhookdelivery/?endpoint__id__exact={endpoint.pk}").content.decode()
    assert "FAILED" in page and "The receiver answered 500." in page
    client.post(f"/admin/webhooks/webhookdelivery/{delivery.pk}/do/redeliver/")
    assert WebhookDelivery.objects.values_list("event_id", "state", "attempts").get() == (
        delivery.event_id,
        "PENDING",
        0,
    )
    assert AuditEvent.objects.get(action="webhook.redelivered").target == f"webhook:{endpoint.pk}"


def test_a_deleted_webhook_goes_with_its_deliveries(signed_in: SignIn) -> None:
    client = signed_in("admin")
    client.post(CREATE, FORM)
    endpoint = WebhookEndpoint.objects.get()
    client.post(f"/admin/webhooks/webhookendpoint/{endpoint.pk}/do/ping/")
    assert WebhookDelivery.objects.count() == 1
    client.post(f"/admin/webhooks/webhookendpoint/{endpoint.pk}/do/delete-endpoint/")
    assert not WebhookEndpoint.objects.exists() and not WebhookDelivery.objects.exists()
    assert AuditEvent.objects.get(action="webhook.deleted").before == {"url": FORM["url"], "events": ["case.opened"]}
