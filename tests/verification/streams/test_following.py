"""A call that was answered is compared again while it goes on."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients import api_client
from tests.support.customers import IVR, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.verification.models import Decision
from voiceauth.verification.streams import steps
from voiceauth.verification.streams.tickets import Claim

pytestmark = pytest.mark.django_db


@pytest.fixture
def answered(worker: StandInWorker) -> Any:
    """A call that claimed ``customer_id`` and spoke with ann's voice, and the decision on it."""
    activate_model()
    enrolled_customer("ann")

    def call(customer_id: str) -> tuple[steps.Call, Decision]:
        made = steps.Call(
            stream_id=uuid4(),
            client=api_client("ivr").api_client,
            claim=Claim(customer_id=customer_id),
            actor=IVR,
            is_ticketed=False,
            needed_seconds=3.0,
        )
        decision, _ = steps.verify(made, recording("ann", take=9), "", 3.0)
        return made, decision

    return call


def test_the_same_voice_goes_on_without_a_trace(answered: Any) -> None:
    call, decision = answered("ann")
    told = steps.follow(call, decision, recording("ann", take=10, voices=["ann"] * 6), "", True)
    assert told["probability"] > 0.9 and not told["speaker_changed"]
    assert not AuditEvent.objects.filter(action="call.speaker_changed").exists()


def test_a_change_of_speaker_is_told_and_goes_to_the_trail_once(answered: Any) -> None:
    call, decision = answered("ann")
    taken_over = recording("ann", take=10, voices=["ann", "ann", "bob", "bob"])
    for first in (True, False):
        assert steps.follow(call, decision, taken_over, "", first)["speaker_changed"]
    event = AuditEvent.objects.get(action="call.speaker_changed")
    assert (event.customer_id, event.target, event.actor) == ("ann", f"decision:{decision.pk}", IVR.name)


def test_who_claimed_an_unknown_customer_is_compared_with_the_same_decoy(answered: Any) -> None:
    call, decision = answered("nobody")
    told = steps.follow(call, decision, recording("ann", take=9), "", True)
    assert decision.told["log_likelihood_ratio"] == pytest.approx(told["log_likelihood_ratio"], rel=1e-3)
    assert told["probability"] < 0.5


def test_a_stream_leads_to_one_decision_only(answered: Any) -> None:
    from django.db import IntegrityError, transaction

    call, _ = answered("ann")
    with pytest.raises(IntegrityError), transaction.atomic():
        steps.verify(call, recording("ann", take=11), "", 3.0)
    assert Decision.objects.count() == 1
