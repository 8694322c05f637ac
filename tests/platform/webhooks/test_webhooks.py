"""Webhooks: what is announced, how it is signed, and what happens when the receiver does not answer as it should."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook

from tests.support.customers import enrolled_customer
from tests.support.listener import Listener
from tests.support.model import activate_model
from tests.support.rows import make_run
from tests.support.stand_in import StandInWorker, recording
from tests.support.waiting import until
from tests.support.workers import running_worker
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.jobs import transitions
from voiceauth.platform.webhooks import services
from voiceauth.platform.webhooks.events import TYPES
from voiceauth.platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from voiceauth.screening import cases
from voiceauth.verification.services import verify

pytestmark = pytest.mark.django_db

ADMIN = Actor(name="user:grace", role="admin")
IVR = Actor(name="ivr", role="ivr")


@pytest.fixture
def listener(settings: Settings) -> Iterator[Listener]:
    settings.VOICEAUTH_WEBHOOK_NETWORKS = [ip_network("127.0.0.1/32")]
    with Listener().running() as listener:
        yield listener


def endpoint_at(listener: Listener, *events: str) -> tuple[WebhookEndpoint, str]:
    return services.create_endpoint(url=listener.url, events=list(events or TYPES), actor=ADMIN)


def open_case(**fields: Any) -> int:
    given = {"kind": "REPLAY", "customer_id": "C-1", "evidence": {"score": 0.93, "reason": "REPLAY"}} | fields
    return cases.open_case(**given, actor=SYSTEM).pk


def deliver_all() -> None:
    for pk in list(WebhookDelivery.objects.order_by("created_at").values_list("pk", flat=True)):
        services.deliver(pk)


def bodies(listener: Listener) -> list[tuple[str, dict[str, Any]]]:
    sent = [json.loads(body) for _, body in listener.received]
    return [(each["type"], each["data"]) for each in sent]


def test_a_call_with_fraud_risk_is_announced_with_ids_alone_and_any_other_is_not(
    listener: Listener, worker: StandInWorker
) -> None:
    activate_model()
    enrolled_customer("ann")
    endpoint_at(listener)
    verify(customer_id="ann", audio=recording("ann", take=1), actor=IVR)
    assert not WebhookDelivery.objects.exists()
    replayed = verify(customer_id="ann", audio=recording("ann", take=1), actor=IVR)
    deliver_all()
    sent = dict(bodies(listener))
    assert sent["decision.fraud_risk"] == {"decision_id": str(replayed.pk), "customer_id": "ann"}
    assert sent["case.opened"] == {"case_number": "1", "customer_id": "ann", "state": "OPEN"} | {
        "case_number": sent["case.opened"]["case_number"]
    }


def test_cases_runs_and_batches_are_announced_when_they_change_or_end(listener: Listener) -> None:
    endpoint_at(listener)
    number = open_case()
    cases.close(number=number, resolution="FALSE_ALARM", comment="A test call.", actor=ADMIN)
    cases.reopen(number=number, reason="Another call came.", actor=ADMIN)
    run = make_run()
    transitions.end(run, "FAILED", error_code="too_few_speakers", error_message="Two are needed.")
    deliver_all()
    case = {"case_number": str(number), "customer_id": "C-1"}
    assert sorted(bodies(listener), key=lambda each: each[0]) == [
        ("case.closed", case | {"state": "CLOSED"}),
        ("case.opened", case | {"state": "OPEN"}),
        ("case.reopened", case | {"state": "OPEN"}),
        ("training_run.ended", {"run_id": str(run.pk), "state": "FAILED"}),
    ]


def test_an_endpoint_is_told_only_of_what_it_asked_for(listener: Listener) -> None:
    endpoint_at(listener, "case.closed")
    cases.close(number=open_case(), resolution="FALSE_ALARM", comment="A test call.", actor=ADMIN)
    deliver_all()
    assert [kind for kind, _ in bodies(listener)] == ["case.closed"]


def test_nothing_is_announced_of_what_was_rolled_back(listener: Listener) -> None:
    endpoint_at(listener)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        open_case()
        raise ZeroDivisionError
    assert not WebhookDelivery.objects.exists()


def test_the_signature_is_what_a_library_for_receivers_checks(listener: Listener) -> None:
    _, secret = endpoint_at(listener)
    open_case()
    deliver_all()
    headers, body = listener.received[0]
    assert Webhook(secret).verify(body, headers)["type"] == "case.opened"
    assert headers["webhook-id"] == str(WebhookDelivery.objects.get().event_id)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(body.replace(b"opened", b"closed"), headers)
    with pytest.raises(Exception, match="too old"):
        Webhook(secret).verify(body, headers | {"webhook-timestamp": "1700000000"})


def test_a_rotated_secret_signs_and_the_former_one_does_not(listener: Listener) -> None:
    endpoint, former = endpoint_at(listener)
    endpoint, secret = services.rotate_secret(endpoint=endpoint, actor=ADMIN)
    services.ping(endpoint=endpoint, actor=ADMIN)
    deliver_all()
    headers, body = listener.received[0]
    assert Webhook(secret).verify(body, headers)["type"] == "ping"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(former).verify(body, headers)


def test_a_failed_delivery_is_tried_again_later_and_later_with_the_same_id(listener: Listener) -> None:
    listener.statuses = [500, 302, 204]
    listener.location = listener.url
    endpoint_at(listener)
    open_case()
    pauses = []
    for _ in range(2):
        before = timezone.now()
        deliver_all()
        delivery = WebhookDelivery.objects.get()
        pauses.append(round((delivery.next_attempt_at - before).total_seconds()))
        assert (delivery.state, services.deliver(delivery.pk)) == ("PENDING", False)  # not before its time
        WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    assert (pauses, delivery.error) == ([10, 40], "The receiver answered 302.")  # a redirect is not followed
    deliver_all()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.status, delivery.error) == ("DELIVERED", 3, 204, "")
    assert len({headers["webhook-id"] for headers, _ in listener.received}) == 1
    assert services.deliver(delivery.pk) is False


def test_a_receiver_that_is_gone_is_given_up_and_a_person_can_redeliver(listener: Listener) -> None:
    endpoint_at(listener)
    open_case()
    with Listener().running() as gone:
        closed = gone.url
    WebhookEndpoint.objects.update(url=closed)
    WebhookDelivery.objects.update(attempts=services.MOST_ATTEMPTS - 1)
    deliver_all()
    delivery = WebhookDelivery.objects.get()
    assert delivery.state == "FAILED" and "refused" in delivery.error.lower()
    WebhookEndpoint.objects.update(url=listener.url)
    services.redeliver(delivery=delivery, actor=ADMIN)
    deliver_all()
    delivery.refresh_from_db()
    assert delivery.state == "DELIVERED"
    assert listener.received[0][0]["webhook-id"] == str(delivery.event_id)
    assert AuditEvent.objects.filter(action="webhook.redelivered", actor="user:grace").exists()


def test_old_deliveries_are_deleted(listener: Listener) -> None:
    endpoint_at(listener)
    open_case()
    services.sweep()
    assert WebhookDelivery.objects.exists()
    WebhookDelivery.objects.update(created_at=timezone.now() - timedelta(days=services.KEPT_DAYS, minutes=1))
    services.sweep()
    assert not WebhookDelivery.objects.exists()


def test_deleting_an_endpoint_ends_what_was_on_its_way(listener: Listener) -> None:
    endpoint, _ = endpoint_at(listener)
    open_case()
    (pk,) = WebhookDelivery.objects.values_list("pk", flat=True)
    services.delete_endpoint(endpoint=endpoint, actor=ADMIN)
    assert services.deliver(pk) is False
    assert services.deliver(uuid.uuid4()) is False
    assert listener.received == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_delivers_what_a_transaction_announced(listener: Listener, tmp_path: Path) -> None:
    _, secret = endpoint_at(listener)
    log, networks = tmp_path / "maintenance.log", "127.0.0.1/32"
    with running_worker(log, "maintenance", VOICEAUTH_WEBHOOK_NETWORKS=networks) as worker:
        open_case()
        until(lambda: WebhookDelivery.objects.filter(state="DELIVERED").exists())
        worker.stop()
    headers, body = listener.received[0]
    assert Webhook(secret).verify(body, headers)["type"] == "case.opened"
