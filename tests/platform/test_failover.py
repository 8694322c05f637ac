"""A database that only reads, as the old primary does after a failover: writes are refused as for a lost one."""

from collections.abc import Iterator

import pytest
from django.core.signals import request_started
from django.db import OperationalError, connection, transaction
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.models import Customer
from mltraining import worker_client
from mltraining.worker_server import _reply
from tests.support.clients import api_client
from voiceauth.celery import app
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.jobs.patience import patiently

pytestmark = pytest.mark.django_db(transaction=True)


def stay_with_the_old_primary() -> None:
    """What this session asks for is refused from now on, as on a standby; a new connection finds the new primary."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")


@pytest.fixture
def client() -> Iterator[APIClient]:
    yield api_client("teller")
    connection.close()


def new_customer(client: APIClient, name: str) -> Response:
    return client.post("/api/v1/customers", {"customer_id": name}, format="json")


def test_a_write_is_refused_for_the_moment_and_the_next_one_finds_the_new_primary(client: APIClient) -> None:
    stay_with_the_old_primary()
    response = new_customer(client, "ann")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert response["Retry-After"] == "2"
    assert new_customer(client, "ann").status_code == 201


def test_a_connection_that_only_reads_is_replaced_before_a_request_uses_it(client: APIClient) -> None:
    connection.ensure_connection()
    stay_with_the_old_primary()
    request_started.send(sender=None)
    assert new_customer(client, "ann").status_code == 201


def test_a_connection_that_writes_is_kept(client: APIClient) -> None:
    connection.ensure_connection()
    before = connection.connection
    request_started.send(sender=None)
    assert new_customer(client, "ann").status_code == 201
    assert connection.connection is before


def test_a_worker_keeps_a_connection_that_writes_from_task_to_task_and_no_other(client: APIClient) -> None:
    (fixup,) = app._fixups
    task, between = app.tasks["celery.map"], fixup.worker_fixup
    connection.ensure_connection()
    before = connection.connection
    between.on_task_postrun(task)
    between.on_task_prerun(task)
    assert Customer.objects.count() == 0
    assert connection.connection is before
    stay_with_the_old_primary()
    between.on_task_postrun(task)
    between.on_task_prerun(task)
    Customer.objects.create(customer_id="ann")
    assert connection.connection is not before


def test_reads_go_on_although_the_use_of_the_token_cannot_be_noted(client: APIClient) -> None:
    Customer.objects.create(customer_id="ann")
    stay_with_the_old_primary()
    assert client.get("/api/v1/customers/ann").status_code == 200
    assert ApiClient.objects.get(pk=client.api_client.pk).last_used_at is None


def test_readiness_names_the_reason(client: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "call", lambda *args, **kwargs: None)
    stay_with_the_old_primary()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "read_only", "queue": "ok", "scoring": "ok"}
    assert client.get("/readyz").json()["database"] == "ok"  # the connection was given up


def test_a_worker_tells_its_caller_and_a_job_waits(client: APIClient) -> None:
    def write(_: object = None) -> int:
        with transaction.atomic():
            return Customer.objects.update(display_name="")

    stay_with_the_old_primary()
    failure = _reply(write, None, "a call").failure
    assert failure is not None and (failure.code, failure.status) == ("database_unavailable", 503)
    assert patiently(write) == 0  # it has closed the connection, and tried again


def test_other_refusals_stay_what_they_are(client: APIClient) -> None:
    with pytest.raises(OperationalError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
        cursor.execute("UPDATE enrollment_customer SET display_name = ''")
    with pytest.raises(ValueError, match="mine"), connection.wrap_database_errors:
        raise ValueError("mine")


def test_a_page_of_the_dashboard_is_unavailable_for_the_moment_too(client: APIClient) -> None:
    stay_with_the_old_primary()
    response = client.post("/admin/login/", {"username": "hunter", "password": "hunter2"})  # a failure is counted
    assert (response.status_code, response["Retry-After"]) == (503, "2")
    assert b"hunter" not in response.content and b"Try again" in response.content
