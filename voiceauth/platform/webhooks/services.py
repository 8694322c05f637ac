"""Services on webhooks: create, rotate, delete, test; announce an event, deliver it, deliver it again."""

import json
import logging
import time
import uuid
from datetime import timedelta
from typing import Any

import httpcore
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError
from voiceauth.platform.webhooks import signing, targets
from voiceauth.platform.webhooks.events import PING, webhook_of
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 10  # over a day and a half
FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 12 * 3600
KEPT_DAYS = 30
MESSAGE_SECONDS = 60.0  # after which a message that waits in the queue is dropped: the sweep sends it again
MOST_SENT = 500  # in one sweep

State = WebhookDelivery.State


@transaction.atomic
def create_endpoint(*, url: str, events: list[str], actor: Actor) -> tuple[WebhookEndpoint, str]:
    """Have ``url`` told of ``events``, types of ``events.TYPES``. Return the endpoint and its secret.

    Raises ``InvalidWebhookUrl`` and ``WebhookTargetRefused``.
    """
    targets.check(url)
    endpoint = WebhookEndpoint.objects.create(url=url, events=events, created_by=actor.name)
    _record("created", endpoint, actor, after={"url": url, "events": events})
    return endpoint, signing.secret_of(endpoint)


@transaction.atomic
def rotate_secret(*, endpoint: WebhookEndpoint, actor: Actor) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint a new secret; the former one signs nothing any more. Return both."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(secret_number=F("secret_number") + 1)
    endpoint.refresh_from_db()
    _record("secret_rotated", endpoint, actor)
    return endpoint, signing.secret_of(endpoint)


@transaction.atomic
def delete_endpoint(*, endpoint: WebhookEndpoint, actor: Actor) -> None:
    """Delete an endpoint with its deliveries."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).delete()
    _record("deleted", endpoint, actor, before={"url": endpoint.url, "events": endpoint.events})


@transaction.atomic
def ping(*, endpoint: WebhookEndpoint, actor: Actor) -> WebhookDelivery:
    """Send an endpoint a webhook of the type ``ping``."""
    delivery = _deliveries([endpoint], PING, {})[0]
    _record("pinged", endpoint, actor)
    return delivery


@transaction.atomic
def redeliver(*, delivery: WebhookDelivery, actor: Actor) -> WebhookDelivery:
    """Deliver a webhook again, with the same ``event_id`` and attempts of its own."""
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=State.PENDING, attempts=0, next_attempt_at=timezone.now(), delivered_at=None
    )
    _send(delivery.pk)
    _record("redelivered", delivery.endpoint, actor, data={"delivery_id": str(delivery.pk)})
    delivery.refresh_from_db()
    return delivery


def announce(event: AuditEvent) -> None:
    """Queue the webhook that follows from an event of the trail, in the transaction that writes the event."""
    found = webhook_of(event)
    if found is None:
        return
    kind, data = found
    _deliveries([each for each in WebhookEndpoint.objects.all() if kind in each.events], kind, data)


def deliver(delivery_id: uuid.UUID) -> bool:
    """Make one attempt at a delivery. False where it waits for none."""
    now = timezone.now()
    due = WebhookDelivery.objects.filter(pk=delivery_id, state=State.PENDING, next_attempt_at__lte=now)
    delivery = due.select_related("endpoint").first()
    if delivery is None:
        return False
    attempts = delivery.attempts + 1
    claimed = due.filter(attempts=delivery.attempts).update(attempts=attempts, next_attempt_at=now + _pause(attempts))
    if not claimed:
        return False
    status, error = _attempt(delivery)
    rows = WebhookDelivery.objects.filter(pk=delivery_id, state=State.PENDING, attempts=attempts)
    if not error:
        rows.update(state=State.DELIVERED, status=status, error="", delivered_at=timezone.now())
        return True
    state = State.FAILED if attempts >= MOST_ATTEMPTS else State.PENDING
    rows.update(state=state, status=status, error=error[:200])
    logger.warning("webhook %s was not delivered, attempt %s: %s", delivery_id, attempts, error)
    return True


def sweep() -> None:
    """Send the deliveries that are due, and delete those older than ``KEPT_DAYS``. Runs periodically."""
    now = timezone.now()
    due = WebhookDelivery.objects.filter(state=State.PENDING, next_attempt_at__lte=now).order_by("next_attempt_at")
    for pk in due.values_list("pk", flat=True)[:MOST_SENT]:
        _send(pk)
    WebhookDelivery.objects.filter(created_at__lt=now - timedelta(days=KEPT_DAYS)).delete()


def _deliveries(endpoints: list[WebhookEndpoint], kind: str, data: dict[str, Any]) -> list[WebhookDelivery]:
    now, event_id = timezone.now(), uuid.uuid4()
    body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data})
    made = [
        WebhookDelivery(endpoint=each, event_id=event_id, type=kind, body=body, next_attempt_at=now)
        for each in endpoints
    ]
    WebhookDelivery.objects.bulk_create(made)
    for delivery in made:
        _send(delivery.pk)
    return made


def _send(delivery_id: uuid.UUID) -> None:
    """Tell the queue about a delivery, once the transaction has committed; a message that is lost is sent again."""

    def publish() -> None:
        current_app.send_task("webhooks.deliver", args=[str(delivery_id)], expires=MESSAGE_SECONDS, retry=False)

    transaction.on_commit(publish, robust=True)  # a queue that is down must not undo what was committed


def _attempt(delivery: WebhookDelivery) -> tuple[int | None, str]:
    """Return the status of the answer, if any, and what went wrong; an empty text where nothing did."""
    body = delivery.body.encode()
    signed = signing.headers(delivery.endpoint, str(delivery.event_id), body, int(time.time()))
    headers = signed | {"content-type": "application/json", "user-agent": "voiceauth-webhooks"}
    try:
        status = targets.post(delivery.endpoint.url, body, headers)
    except SoftTimeLimitExceeded:
        return None, "The receiver took too long to answer."
    except DomainError as error:
        return None, error.detail
    except (OSError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        return None, f"{type(error).__name__}: {error}"
    return status, "" if 200 <= status < 300 else f"The receiver answered {status}."


def _pause(attempts: int) -> timedelta:
    return timedelta(seconds=min(FIRST_PAUSE_SECONDS * 4.0 ** (attempts - 1), LONGEST_PAUSE_SECONDS))


def _record(event: str, endpoint: WebhookEndpoint, actor: Actor, **details: Any) -> None:
    record(action=f"webhook.{event}", actor=actor, target=f"webhook:{endpoint.pk}", **details)
