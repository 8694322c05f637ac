"""Two requests at once, on real connections to the real database."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from enrollment import samples, services
from enrollment.errors import ConsentRequired, CustomerExists, CustomerNotFound, DuplicateSample, OptedOut
from enrollment.models import AudioSample, Customer, SampleEmbedding, Voiceprint
from mltraining import worker_client
from mltraining.locks import lock_gallery
from tests.support.customers import TELLER, consenting_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from tests.support.waiting import at_once, until
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def together(worker: StandInWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls to the scoring worker answer at the same moment, so that both store at once."""
    barrier = threading.Barrier(2, timeout=20)
    inner = worker.call

    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        answer = inner(*args, **kwargs)
        barrier.wait()
        return answer

    monkeypatch.setattr(worker_client, "call", call)


def enroll(take: int) -> Callable[[], AudioSample]:
    return lambda: samples.enroll_sample(
        customer_id="ann", audio=recording("ann", take, speech_seconds=12.0), actor=TELLER
    )


def test_two_recordings_of_one_customer_at_once_are_both_counted(together: None) -> None:
    activate_model()
    consenting_customer("ann")
    outcomes = at_once(enroll(1), enroll(2))
    assert all(isinstance(each, AudioSample) for each in outcomes), outcomes
    ann = Customer.objects.get()
    assert (ann.speech_seconds, ann.state) == (24.0, "ENROLLED")
    assert Voiceprint.objects.get().sample_count == 2
    changes = AuditEvent.objects.filter(action="enrollment.accepted").order_by("sequence")
    assert [(each.before, each.after) for each in changes] == [
        ({"state": "PENDING", "speech_seconds": 0}, {"state": "ENROLLING", "speech_seconds": 12}),
        ({"state": "ENROLLING", "speech_seconds": 12}, {"state": "ENROLLED", "speech_seconds": 24}),
    ]


def test_the_same_recording_twice_at_once_is_enrolled_once(together: None) -> None:
    activate_model()
    consenting_customer("ann")
    outcomes = at_once(enroll(1), enroll(1))
    assert sorted(type(each).__name__ for each in outcomes) == ["AudioSample", DuplicateSample.__name__]
    assert AudioSample.objects.count() == 1


def test_an_enrollment_and_an_erasure_at_once_leave_nothing_behind(worker: StandInWorker) -> None:
    activate_model()
    consenting_customer("ann")
    outcomes = at_once(enroll(1), lambda: services.erase_customer(customer_id="ann", actor=TELLER))
    assert isinstance(outcomes[0], AudioSample | CustomerNotFound | ConsentRequired), outcomes
    assert isinstance(outcomes[1], Erasure), outcomes
    assert [each.state for each in Customer.objects.all()] == ["ERASED"]


def test_an_enrollment_and_a_withdrawal_at_once_leave_no_audio(worker: StandInWorker) -> None:
    activate_model()
    consenting_customer("ann")
    outcomes = at_once(
        enroll(1),
        lambda: services.withdraw_consent(customer_id="ann", purpose="voice_authentication", actor=TELLER),
    )
    assert isinstance(outcomes[0], AudioSample | OptedOut | ConsentRequired), outcomes
    assert isinstance(outcomes[1], Erasure), outcomes
    assert Customer.objects.get().state == "OPTED_OUT" and not AudioSample.objects.exists()


def test_an_enrollment_waits_for_a_promotions_switch_and_then_follows_it(worker: StandInWorker) -> None:
    activate_model("first")
    consenting_customer("ann")
    outcomes: list[Any] = []
    waiting = threading.Thread(target=lambda: outcomes.extend(at_once(enroll(1))))
    with transaction.atomic():
        lock_gallery(shared=False)
        waiting.start()
        until(_someone_waits_for_the_gallery)
        second = activate_model("second")
        assert not AudioSample.objects.exists()
    waiting.join(timeout=30)
    assert isinstance(outcomes[0], AudioSample), outcomes
    assert [each.model_fingerprint for each in SampleEmbedding.objects.all()] == [second.fingerprint]
    assert Voiceprint.objects.get().model_fingerprint == second.fingerprint


def _someone_waits_for_the_gallery() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


def test_of_two_customers_of_one_identifier_at_once_one_is_created() -> None:
    def create() -> Customer:
        return services.create_customer(customer_id="ann", actor=TELLER)

    outcomes = at_once(create, create)
    assert sorted(type(each).__name__ for each in outcomes) == ["Customer", CustomerExists.__name__]
