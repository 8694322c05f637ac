"""Decisions and changes to the same customer at once, on real connections: the end is one that the table allows."""

from threading import Barrier

import pytest

from enrollment import services
from enrollment.models import Customer
from mltraining.models import ModelVersion
from tests.support.customers import IVR, TELLER, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from tests.support.waiting import at_once
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import services as policies
from voiceauth.retraining import services as retraining
from voiceauth.retraining.errors import PromotionInProgress
from voiceauth.verification import services as verification
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("attempt", range(3))
def test_a_call_and_a_lock_at_once_accept_before_it_or_not_at_all(worker: StandInWorker, attempt: int) -> None:
    activate_model()
    enrolled_customer("ann")
    decision, _ = at_once(
        lambda: verification.verify(customer_id="ann", audio=recording("ann", 5), actor=IVR),
        lambda: services.lock_customer(customer_id="ann", reason="a race", actor=TELLER),
    )
    assert Customer.objects.get().state == "LOCKED"
    assert decision.decision in ("ACCEPT", "SPEAKER_LOCKED")
    if decision.decision == "SPEAKER_LOCKED":
        assert decision.told["decision"] == "REJECT"
    assert chain.verify().intact


def test_two_refusals_at_once_are_both_counted_and_lock_once(worker: StandInWorker) -> None:
    policies.change(content={"verification": {"lock_after": 2}}, reason="x", based_on=0, actor=TELLER)
    activate_model()
    enrolled_customer("ann")
    worker.before_answer = Barrier(2, timeout=20).wait  # both are decided at the same moment
    at_once(
        *(
            lambda take=take: verification.verify(customer_id="ann", audio=recording("eve", take), actor=IVR)
            for take in range(2)
        )
    )
    ann = Customer.objects.get()
    assert (ann.state, ann.refusals) == ("LOCKED", 2)
    assert AuditEvent.objects.get(action="customer.locked").customer_id == "ann"
    assert chain.verify().intact


def test_a_call_and_an_erasure_at_once_leave_no_recording(worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    decision, _ = at_once(
        lambda: verification.verify(customer_id="ann", audio=recording("ann", 5), actor=IVR),
        lambda: services.erase_customer(customer_id="ann", actor=TELLER),
    )
    assert Customer.objects.get().state == "ERASED"
    assert decision.decision in ("ACCEPT", "SPEAKER_NOT_ENROLLED")
    assert Decision.objects.count() == 1 and not CallAudio.objects.exists()


def test_of_two_promotions_at_once_one_is_begun() -> None:
    for name in ("one", "two"):
        activate_model(name)
    ModelVersion.objects.update(state=ModelVersion.State.CANDIDATE)
    outcomes = at_once(
        *(lambda name=name: retraining.request_promotion(version=name, actor=TELLER) for name in ("one", "two"))
    )
    assert sum(isinstance(each, PromotionInProgress) for each in outcomes) == 1, outcomes
    assert ModelVersion.objects.filter(state=ModelVersion.State.PROMOTING).count() == 1
