"""Customers: what may be done to them."""

from typing import Any

import pytest
from django.test import Client

from enrollment.models import AudioSample, Customer
from tests.support.customers import make_customer, make_sample
from tests.support.people import SignIn
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


def test_erasing_a_customer_asks_first_and_then_calls_the_service(signed_in: SignIn) -> None:
    customer = make_customer()
    make_sample(customer)
    client, path = signed_in("teller"), f"/admin/enrollment/customer/{customer.pk}/do/erase/"
    assert "Erase C-1001?" in client.get(path).content.decode()
    assert Customer.objects.filter(pk=customer.pk).exists()
    assert client.post(path).status_code == 302
    assert not AudioSample.objects.filter(customer_id=customer.pk).exists()
    event = AuditEvent.objects.get(action="customer.erased")
    assert (event.actor, event.role, event.customer_id) == ("user:tom", "teller", "C-1001")


def test_a_customer_s_name_is_escaped(signed_in: SignIn) -> None:
    customer = make_customer(display_name="<script>alert(1)</script>")
    client = signed_in("teller")
    for path in ("", f"{customer.pk}/change/", f"{customer.pk}/do/erase/"):
        assert "<script>alert" not in client.get(f"/admin/enrollment/customer/{path}").content.decode()


def test_an_action_needs_the_csrf_token(people: dict[str, Any]) -> None:
    customer = make_customer()
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["teller"])
    assert client.post(f"/admin/enrollment/customer/{customer.pk}/do/erase/").status_code == 403
    assert Customer.objects.filter(pk=customer.pk).exists()
