"""Customers: what may be done to them."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from enrollment.models import AudioSample, Customer, Voiceprint
from tests.support.customers import make_customer, make_sample
from tests.support.model import make_model
from tests.support.people import SignIn
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.policies import selectors as policies
from voiceauth.verification.policy import delay_after

pytestmark = pytest.mark.django_db


def test_erasing_a_customer_asks_first_and_then_calls_the_service(signed_in: SignIn) -> None:
    customer = make_customer()
    make_sample(customer)
    client, path = signed_in("teller"), f"/admin/enrollment/customer/{customer.pk}/do/erase/"
    assert "Erase C-1001?" in client.get(path).content.decode()
    assert Customer.objects.filter(pk=customer.pk).exists()
    assert "This field is required" in client.post(path).content.decode()
    assert client.post(path, {"reason": "the customer asked"}).status_code == 302
    assert not AudioSample.objects.filter(customer_id=customer.pk).exists()
    event = AuditEvent.objects.get(action="customer.erased")
    assert (event.actor, event.role, event.customer_id) == ("user:tom", "teller", "C-1001")
    assert event.data["reason"] == "the customer asked"


def test_a_consent_is_shown_with_the_hash_of_its_text(signed_in: SignIn) -> None:
    customer = make_customer()
    customer.consents.create(purpose="trial", text_version="t-2", text_sha256="ab" * 32, origin="branch")
    shown = signed_in("teller").get(f"/admin/enrollment/customer/{customer.pk}/change/").content.decode()
    assert f"SHA-256 {'ab' * 32}" in shown and "its hash is not known" in shown


def test_a_delay_is_shown_and_ended_by_unlocking(signed_in: SignIn) -> None:
    now = timezone.now()
    customer = make_customer(refusals=9, refused_at=now)
    client, path = signed_in("reviewer"), f"/admin/enrollment/customer/{customer.pk}/"
    shown = client.get(f"{path}change/").content.decode()
    until = now + delay_after(policies.in_force().verification, 9)
    assert f"{until:%d %b %Y, %H:%M:%S}" in shown and "9, of 50 that lock" in shown
    client.post(f"{path}do/unlock/", {"reason": "called back"})
    customer.refresh_from_db()
    assert (customer.state, customer.refusals, customer.refused_at) == ("ENROLLED", 0, None)
    event = AuditEvent.objects.get(action="customer.unlocked")
    assert (event.before, event.data["reason"]) == ({"state": "ENROLLED", "refusals": 9}, "called back")
    shown = client.get(f"{path}change/").content.decode()
    assert "no delay" in shown and "/do/unlock/" not in shown


def test_the_page_says_who_brought_a_customer_into_the_state_and_why(signed_in: SignIn) -> None:
    customer, client = make_customer(), signed_in("reviewer")
    path = f"/admin/enrollment/customer/{customer.pk}/"
    client.post(f"{path}do/lock/", {"reason": "<b>panic</b>"})
    shown = client.get(f"{path}change/").content.decode()
    assert "by user:rita: &lt;b&gt;panic&lt;/b&gt;" in shown
    with transaction.atomic():
        data = {"refusals": 50}
        about: dict[str, Any] = {"customer_id": "C-1001", "before": {"state": "ENROLLED"}, "after": {"state": "LOCKED"}}
        record(action="customer.locked", actor=SYSTEM, **about, data=data)
    assert "customer locked, after 50 refusals in a row" in client.get(f"{path}change/").content.decode()


def test_voiceprints_are_listed_by_model(signed_in: SignIn) -> None:
    customer, model = make_customer(), make_model(state="ACTIVE")
    for number, fingerprint in enumerate((model.fingerprint, "b" * 64)):
        given = {"model_fingerprint": fingerprint, "sample_count": 2, "speech_seconds": 16.2, "revision": number}
        Voiceprint.objects.create(customer=customer, content=b"sealed", **given)
    shown = signed_in("teller").get(f"/admin/enrollment/customer/{customer.pk}/change/").content.decode()
    assert "Voiceprints" in shown and model.version in shown and "<code>bbbbbbbb</code>" in shown


@pytest.mark.parametrize(
    ("role", "attempts", "voiceprints"),
    [("teller", False, True), ("reviewer", True, True), ("admin", True, True), ("auditor", True, False)],
)
def test_each_role_sees_of_a_customer_what_it_may(
    signed_in: SignIn, role: str, attempts: bool, voiceprints: bool
) -> None:
    customer = make_customer(refusals=9, refused_at=timezone.now())
    make_sample(customer)
    shown = signed_in(role).get(f"/admin/enrollment/customer/{customer.pk}/change/").content.decode()
    assert ("Delayed until" in shown, "State set" in shown) == (attempts, attempts)  # a teller does not tip anybody off
    assert ("Voiceprints</h2>" in shown) == voiceprints
    assert ("<audio" in shown) == (role in ("reviewer", "admin"))


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
