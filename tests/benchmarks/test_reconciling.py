"""What the faults benchmark finds where a decision is missing, doubled, or not in the trail."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from tests.support.customers import IVR
from tests.support.workers import database_url
from voiceauth.benchmarks.callers import Call
from voiceauth.benchmarks.reconciling import Books, reconcile
from voiceauth.benchmarks.service import Service
from voiceauth.platform.audit.services import record
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db(transaction=True)


class OnTheTestDatabase(Service):
    """A service of which only the database runs."""

    def __init__(self) -> None:
        self.state, self.database = Path(), database_url()


@transaction.atomic
def decided(call: Call, *, events: int = 1) -> str:
    decision = Decision.objects.create(
        id=uuid4(), kind="verify", customer_id=call.customer_id, decision="ACCEPT", request_id=call.request_id
    )
    for _ in range(events):
        record(action="decision.made", actor=IVR, target=f"decision:{decision.pk}")
    return str(decision.pk)


def answered(call: Call, decision_id: str) -> Call:
    answer: Any = SimpleNamespace(decision_id=decision_id, decision="ACCEPT")
    call.answer = answer
    return call


def test_a_call_with_one_decision_and_one_event_balances() -> None:
    call = Call("ann")
    answered(call, decided(call))
    given_up = Call("ann")
    books = reconcile(OnTheTestDatabase(), [call, given_up])
    assert books == Books(calls=2, unanswered=1, kept=0, lost=0, doubled=0, unaudited=0) and books.balanced


def test_a_call_that_was_given_up_may_have_a_decision() -> None:
    call = Call("ann")
    decided(call)
    books = reconcile(OnTheTestDatabase(), [call])
    assert (books.unanswered, books.kept, books.balanced) == (1, 1, True)


def test_an_answer_without_its_decision_is_lost() -> None:
    call = Call("ann")
    decided(call)
    books = reconcile(OnTheTestDatabase(), [answered(call, str(uuid4()))])
    assert books.lost == 1 and not books.balanced


def test_two_decisions_of_one_call_are_doubled() -> None:
    call = Call("ann")
    decided(call)
    books = reconcile(OnTheTestDatabase(), [answered(call, decided(call))])
    assert (books.lost, books.doubled, books.balanced) == (0, 1, False)


@pytest.mark.parametrize("events", [0, 2])
def test_a_decision_needs_exactly_one_event(events: int) -> None:
    call = Call("ann")
    books = reconcile(OnTheTestDatabase(), [answered(call, decided(call, events=events))])
    assert books.unaudited == 1 and not books.balanced
