"""Random calls by all roles: no forbidden state, no 5xx, no voice where there may be none, a whole trail."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from rest_framework.test import APIClient

from enrollment import lifecycle, services
from enrollment.models import Customer
from tests.support.clients import api_client, upload
from tests.support.customers import TELLER
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.audit import chain
from voiceauth.policies import services as policies

AGREED = {"purpose": "voice_authentication", "text_version": "1", "origin": "branch"}
CALLS = {
    "create": ("POST", "customers"),
    "consent": ("POST", "customers/{name}/consent"),
    "withdraw": ("DELETE", "customers/{name}/consent"),
    "enroll": ("POST", "customers/{name}/enrollments"),
    "remove": ("DELETE", "customers/{name}/enrollments/{sample}"),
    "erase": ("DELETE", "customers/{name}"),
    "lock": ("POST", "customers/{name}/lock"),
    "unlock": ("POST", "customers/{name}/unlock"),
    "verify": ("POST", "verify"),
    "identify": ("POST", "identify"),
    "read": ("GET", "customers/{name}"),
}
RIGHTFUL = {
    **dict.fromkeys(["create", "consent", "withdraw", "enroll", "remove", "erase", "read"], "teller"),
    **dict.fromkeys(["lock", "unlock"], "reviewer"),
    **dict.fromkeys(["verify", "identify"], "ivr"),
}
ACTIONS = [*CALLS, "three years pass"]
Detail = tuple[str, str, float, str]
DETAIL = st.tuples(
    st.sampled_from(["ann", "ann", "bob"]),
    st.sampled_from(["ann", "bob"]),  # whose voice it is
    st.sampled_from([4.0, 25.0]),  # seconds of speech
    st.sampled_from(["rightful"] * 5 + ["teller", "ivr", "reviewer", "admin"]),
)


def way(*actions: str, seconds: float = 25.0) -> list[tuple[str, Detail]]:
    return [(action, ("ann", "ann", seconds, "rightful")) for action in actions]


FIRST = ("create", "consent", "enroll")
# How ann comes to every state: random calls alone hardly ever do.
BEFORE = {
    "": way(),
    "PENDING": way("create", "consent"),
    "ENROLLING": way(*FIRST, seconds=4.0),
    "ENROLLED": way(*FIRST),
    "LOCKED": way(*FIRST, "lock"),
    "EXPIRED": way(*FIRST, "three years pass"),
    "OPTED_OUT": way(*FIRST, "withdraw"),
    "ERASED": way(*FIRST, "erase"),
}


class Lifecycle(TestCase):
    @pytest.fixture(autouse=True)
    def _worker(self, worker: StandInWorker) -> None:
        """The stand-in for the scoring worker."""

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from(list(BEFORE)), st.permutations(ACTIONS), st.lists(DETAIL, min_size=12, max_size=12))
    def test_random_calls_reach_no_forbidden_state(self, state: str, actions: list[str], details: list[Detail]) -> None:
        clients = self._prepared()
        for number, step in enumerate([*BEFORE[state], *zip(actions, details, strict=True)]):
            self._step(clients, number, *step)
        assert chain.verify().intact

    def test_every_call_in_every_state_ends_where_the_table_allows(self) -> None:
        clients = self._prepared()
        for state, before in BEFORE.items():
            with transaction.atomic():
                for number, step in enumerate(before):
                    self._step(clients, number, *step)
                assert [each.state for each in Customer.objects.all()] == [state] * bool(state)
                for step in way(*ACTIONS):
                    with transaction.atomic():
                        self._step(clients, 9, *step)
                        transaction.set_rollback(True)
                transaction.set_rollback(True)

    def _prepared(self) -> dict[str, APIClient]:
        activate_model()
        content = {"verification": {"lock_after": 2}}
        policies.change(content=content, reason="short", based_on=0, actor=TELLER)
        return {role: api_client(role) for role in ("teller", "ivr", "reviewer", "admin")}

    def _step(self, clients: dict[str, APIClient], number: int, action: str, detail: Detail) -> None:
        name, voice, seconds, role = detail
        before = dict(Customer.objects.values_list("customer_id", "state"))
        if action == "three years pass":
            Customer.objects.update(last_accessed_at=timezone.now() - timedelta(days=1096))
            services.expire_unused()
        else:
            client = clients[RIGHTFUL[action] if role == "rightful" else role]
            self._call(client, action, name, recording(voice, number, speech_seconds=seconds))
        self._check(before)

    def _call(self, client: Any, action: str, name: str, audio: bytes) -> None:
        method, path = CALLS[action]
        customer = Customer.objects.filter(customer_id=name).first()
        sample = customer.samples.first() if customer else None
        path = path.format(name=name, sample=sample.pk if sample else "00000000-0000-4000-8000-000000000000")
        body: dict[str, Any] = {}
        if action in ("enroll", "verify", "identify"):
            body = {"audio": upload(audio)} | ({"customer_id": name} if action == "verify" else {})
        elif method == "POST":
            body = {"create": {"customer_id": name}, "consent": AGREED}.get(action, {"reason": "a test"})
        form = "multipart" if "audio" in body else "json"
        send = {"GET": client.get, "POST": client.post, "DELETE": client.delete}[method]
        answer = send(f"/api/v1/{path}", body, **({} if method == "GET" else {"format": form}))
        assert answer.status_code < 500, answer.content

    def _check(self, before: dict[str, str]) -> None:
        for customer in Customer.objects.all():
            was = before.get(customer.customer_id)
            if was is not None and was != customer.state:
                assert customer.state in lifecycle.TRANSITIONS[was], (was, customer.state)
            if customer.state in ("PENDING", "EXPIRED", "OPTED_OUT", "ERASED"):
                assert not customer.samples.exists() and not customer.voiceprints.exists()
            if customer.state == "ENROLLED":
                assert customer.speech_seconds >= 20 and customer.voiceprints.count() == 1
            if customer.samples.exists():
                assert customer.consents.filter(withdrawn_at=None).exists()
            assert (bytes(customer.data_key) == b"") == (customer.state == "ERASED")
