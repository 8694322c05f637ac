"""The customer's states: the table, locks, expiry, and recordings that wait for a second person."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework.test import APIClient

from enrollment import keys, lifecycle, samples, selectors, services
from enrollment.errors import StateChanged, TransitionRefused
from enrollment.models import AudioSample, Customer, Voiceprint
from mltraining.models import ModelVersion
from tests.support.clients import error_code, upload
from tests.support.customers import TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform import vault
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import services as policies
from voiceauth.retraining.models import TrainingSpeaker

pytestmark = pytest.mark.django_db
CUSTOMERS = "/api/v1/customers"


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        ("PENDING", "ENROLLING ENROLLED LOCKED OPTED_OUT ERASED"),
        ("ENROLLING", "PENDING ENROLLED EXPIRED LOCKED OPTED_OUT ERASED"),
        ("ENROLLED", "PENDING ENROLLING EXPIRED LOCKED OPTED_OUT ERASED"),
        ("EXPIRED", "PENDING ENROLLING ENROLLED OPTED_OUT ERASED"),
        ("LOCKED", "PENDING ENROLLING ENROLLED EXPIRED OPTED_OUT ERASED"),
        ("OPTED_OUT", "PENDING ERASED"),
        ("ERASED", "PENDING OPTED_OUT"),
    ],
)
def test_every_move_outside_the_table_is_refused(state: str, allowed: str) -> None:
    customer = services.create_customer(customer_id="ann", actor=TELLER)
    for to in Customer.State.values:
        Customer.objects.update(state=state)
        customer.refresh_from_db()
        if to == state or to in allowed.split():
            lifecycle.move(customer, to)
        else:
            with pytest.raises(TransitionRefused):
                lifecycle.move(customer, to)
        assert customer.state == Customer.objects.get().state


def test_a_move_from_a_state_that_is_gone_is_refused() -> None:
    customer = services.create_customer(customer_id="ann", actor=TELLER)
    Customer.objects.update(state="OPTED_OUT")
    with pytest.raises(StateChanged):
        lifecycle.move(customer, "LOCKED")
    assert Customer.objects.get().state == "OPTED_OUT"


def test_a_reviewer_locks_and_unlocks_and_the_trail_says_why(reviewer: APIClient, worker: StandInWorker) -> None:
    enrolled_customer("ann")
    locked = reviewer.post(f"{CUSTOMERS}/ann/lock", {"reason": "SIM swap reported"}, format="json")
    assert (locked.status_code, locked.json()["state"]) == (200, "LOCKED")
    assert error_code(reviewer.post(f"{CUSTOMERS}/ann/lock", {}, format="json")) == "validation_error"
    unlocked = reviewer.post(f"{CUSTOMERS}/ann/unlock", {"reason": "spoke to her"}, format="json")
    assert unlocked.json()["state"] == "ENROLLED"
    again = reviewer.post(f"{CUSTOMERS}/ann/unlock", {"reason": "spoke to her"}, format="json")
    assert error_code(again) == "customer_not_locked"
    event = AuditEvent.objects.get(action="customer.locked")
    assert (event.after, event.data) == ({"state": "LOCKED"}, {"reason": "SIM swap reported"})


def test_a_voice_unused_for_three_years_is_destroyed_and_the_consent_stands(
    worker: StandInWorker, teller: APIClient
) -> None:
    activate_model()
    for name in ("ann", "bob"):
        enrolled_customer(name)
    old_key = bytes(Customer.objects.get(customer_id="ann").data_key)
    Customer.objects.filter(customer_id="ann").update(last_accessed_at=timezone.now() - timedelta(days=1096))
    assert services.expire_unused() == 1
    ann = Customer.objects.get(customer_id="ann")
    assert (ann.state, ann.speech_seconds, ann.samples.count(), ann.voiceprints.count()) == ("EXPIRED", 0, 0, 0)
    assert bytes(ann.data_key) != old_key
    assert Customer.objects.get(customer_id="bob").state == "ENROLLED"
    assert AuditEvent.objects.get(action="customer.expired").data["samples"] == 1
    assert services.expire_unused() == 0
    assert "enrollment.expire_unused" in {each["task"] for each in settings.CELERY_BEAT_SCHEDULE.values()}
    audio = {"audio": upload(recording("ann", speech_seconds=30.0))}
    assert teller.post(f"{CUSTOMERS}/ann/enrollments", audio).json()["state"] == "ENROLLED"


def test_erasing_a_customer_flags_the_models_that_they_trained(worker: StandInWorker) -> None:
    model, other = activate_model("first"), activate_model("second")
    ann = enrolled_customer("ann")
    TrainingSpeaker.objects.create(model=model, customer=ann)
    services.erase_customer(customer_id="ann", actor=TELLER)
    model.refresh_from_db()
    other.refresh_from_db()
    assert (model.erased_speakers, other.erased_speakers) == (1, 0)
    assert not TrainingSpeaker.objects.exists()
    assert ModelVersion.objects.count() == 2


def test_erasure_destroys_the_key(worker: StandInWorker) -> None:
    ann = enrolled_customer("ann")
    backup = keys.seal_audio(ann, ann.pk, b"a copy that a backup keeps")
    services.erase_customer(customer_id="ann", actor=TELLER)
    ann.refresh_from_db()
    with pytest.raises(vault.Unsealable):
        keys.unseal_audio(ann, ann.pk, backup)


def test_what_needs_approval_counts_only_once_a_second_person_gave_it(teller: APIClient, worker: StandInWorker) -> None:
    content = {"enrollment": {"phone": {"needs_approval": True}}}
    policies.change(content=content, reason="phones", based_on=0, actor=TELLER)
    model = activate_model()
    consenting_customer("ann")
    audio = {"audio": upload(recording("ann", speech_seconds=30.0)), "origin": "phone"}
    answer = teller.post(f"{CUSTOMERS}/ann/enrollments", audio).json()
    assert (answer["held_for"], answer["state"], answer["speech_seconds"]) == (["APPROVAL"], "PENDING", 0)
    assert not Voiceprint.objects.exists()
    approve = f"{CUSTOMERS}/ann/enrollments/{answer['sample_id']}/approve"
    assert error_code(teller.post(approve, {}, format="json")) == "second_person_required"
    sample = AudioSample.objects.get()
    second = samples.approve_sample(
        customer_id="ann", sample_id=sample.pk, actor=type(TELLER)(name="branch-8", role="teller")
    )
    assert (second.held_for, second.approved_by) == ([], "branch-8")
    assert Customer.objects.get().state == "ENROLLED"
    assert Voiceprint.objects.get().model_fingerprint == model.fingerprint
    assert error_code(teller.post(approve, {}, format="json")) == "sample_not_held"


def test_two_voices_in_one_recording_are_refused(teller: APIClient, worker: StandInWorker) -> None:
    activate_model()
    consenting_customer("ann")
    two = {"audio": upload(recording("ann", voices=["ann", "ann", "bob", "bob"]))}
    answer = teller.post(f"{CUSTOMERS}/ann/enrollments", two)
    assert (answer.status_code, error_code(answer)) == (422, "more_than_one_speaker")
    one = {"audio": upload(recording("ann", voices=["ann"] * 4))}
    assert teller.post(f"{CUSTOMERS}/ann/enrollments", one).status_code == 201


def test_another_voice_than_the_customers_earlier_one_is_refused(teller: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    answer = teller.post(f"{CUSTOMERS}/ann/enrollments", {"audio": upload(recording("bob"))})
    assert (answer.status_code, error_code(answer)) == (422, "another_voice")
    assert AudioSample.objects.count() == 1
    assert teller.post(f"{CUSTOMERS}/ann/enrollments", {"audio": upload(recording("ann", take=2))}).status_code == 201


def test_what_is_redacted_is_neither_stored_nor_counted(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    content = recording("ann", speech_seconds=30.0)
    answer = teller.post(f"{CUSTOMERS}/ann/enrollments", {"audio": upload(content), "redact": "[[2, 7.5]]"})
    assert (answer.status_code, answer.json()["speech_seconds"]) == (201, 24.5)
    sample = AudioSample.objects.get()
    assert sample.redacted == [[2, 7.5]]
    assert selectors.sample_audio(sample) != content


@pytest.mark.parametrize(
    "redact", ["[[5, 2]]", "[2, 3]", "nonsense", "[[-1, 2]]", "[[0, Infinity]]", '{"1": 2}', "[[1,2,3]]"]
)
def test_what_is_no_list_of_intervals_is_refused(teller: APIClient, worker: StandInWorker, redact: str) -> None:
    consenting_customer("ann")
    answer = teller.post(f"{CUSTOMERS}/ann/enrollments", {"audio": upload(recording("ann")), "redact": redact})
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert not AudioSample.objects.exists()
