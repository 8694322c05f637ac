"""What is left of a customer who was erased, when the receipt comes, and what they bring along when they come back."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import ForeignObjectRel
from django.utils import timezone
from rest_framework.test import APIClient

from enrollment import samples, services
from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.models import ConfirmedCall, Customer, HeardRecording, SealedAudio
from tests.support.clients import error_code
from tests.support.customers import IVR, TELLER, enrolled_customer, run_erasures
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth.platform import storage
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure
from voiceauth.retraining.models import TrainingSpeaker
from voiceauth.verification import services as verification

pytestmark = pytest.mark.django_db

LAST_YEAR = timezone.now() - timedelta(days=365)


def customer_with_a_past(customer_id: str) -> Customer:
    """A customer with something in every column and in every table that points to customers."""
    model = activate_model()
    customer = enrolled_customer(customer_id)
    verification.verify(customer_id=customer_id, audio=recording(customer_id, take=5), actor=IVR)
    TrainingSpeaker.objects.create(model=model, customer=customer)
    Customer.objects.filter(pk=customer.pk).update(
        display_name="Ann",
        created_at=LAST_YEAR,
        enrolled_at=LAST_YEAR,
        last_accessed_at=LAST_YEAR,
        refusals=3,
        refused_at=LAST_YEAR,
    )
    ConfirmedCall.objects.create(decision_id=uuid4(), customer=customer, method="document")  # revoked since
    customer.refresh_from_db()
    return customer


def columns(customer: Customer) -> dict[str, object]:
    """Everything but what names the customer and the key, which is never the same twice."""
    names = {field.attname for field in Customer._meta.concrete_fields} - {"id", "customer_id", "data_key"}
    return {name: getattr(customer, name) for name in names}


def tables(customer: Customer) -> dict[str, int]:
    """The number of rows of every table that points to the customer."""
    relations = [field for field in Customer._meta.get_fields() if isinstance(field, ForeignObjectRel)]
    return {
        relation.related_model.__name__: relation.related_model._base_manager.filter(
            **{relation.field.name: customer}
        ).count()
        for relation in relations
    }


def test_an_erased_customer_who_comes_back_is_new_in_every_column(teller: APIClient, worker: StandInWorker) -> None:
    ann = customer_with_a_past("ann")
    services.erase_customer(customer_id="ann", actor=TELLER)
    before = timezone.now()
    answer = teller.post("/api/v1/customers", {"customer_id": "ann"}, format="json")
    assert answer.status_code == 201
    back = Customer.objects.get(pk=ann.pk)
    assert back.created_at >= before
    stranger = services.create_customer(customer_id="bob", actor=TELLER)
    assert columns(back) | {"created_at": None} == columns(stranger) | {"created_at": None}


def test_no_table_holds_a_row_of_an_erased_customer(worker: StandInWorker) -> None:
    ann = customer_with_a_past("ann")
    assert min(tables(ann).values()) > 0, "Give the customer a row in the new table too."
    services.erase_customer(customer_id="ann", actor=TELLER)
    assert set(tables(ann).values()) == {0}


def test_a_withdrawal_forgets_when_the_voice_was_used(worker: StandInWorker) -> None:
    ann = customer_with_a_past("ann")
    services.withdraw_consent(customer_id="ann", purpose="voice_authentication", actor=TELLER)
    ann.refresh_from_db()
    assert (ann.last_accessed_at, ann.enrolled_at, ann.refusals, ann.created_at) == (None, None, 0, LAST_YEAR)


def test_removing_a_recording_forgets_its_acoustic_fingerprint_and_no_other(
    teller: APIClient, worker: StandInWorker
) -> None:
    activate_model()
    ann = enrolled_customer("ann")
    verification.verify(customer_id="ann", audio=recording("ann", take=5), actor=IVR)
    assert HeardRecording.objects.count() == 2
    assert teller.delete(f"/api/v1/customers/ann/enrollments/{ann.samples.get().pk}").status_code == 200
    assert HeardRecording.objects.get().decision_id is not None


@pytest.fixture
def storage_is_away(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing can be deleted until ``undo``."""

    def unreachable(self: storage.AudioFolder, name: str) -> None:
        raise ConnectionError

    monkeypatch.setattr(storage.AudioFolder, "delete", unreachable)
    return monkeypatch


def followed(client: APIClient, erasure_id: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/erasures/{erasure_id}")
    assert answer.status_code == 200
    return dict(answer.json())


def test_there_is_no_receipt_until_the_last_recording_is_deleted(
    teller: APIClient, worker: StandInWorker, storage_is_away: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    activate_model()
    enrolled_customer("ann")
    name = str(SealedAudio.objects.get().content)
    erasure_id = teller.delete("/api/v1/customers/ann").json()["erasure_id"]
    # The customer is gone at once, and what lies in the storage cannot be read.
    assert error_code(teller.get("/api/v1/customers/ann")) == "customer_not_found"
    assert bytes(Customer.objects.get().data_key) == b""
    for _ in range(2):
        run_erasures()
        answer = followed(teller, erasure_id)
        assert (answer["state"], answer["error_code"], answer["receipt"]) == ("QUEUED", "recordings_left", None)
        assert answer["error_message"] == "A recording could not be deleted: ConnectionError."
        assert storage.storage().exists(name)
    assert "recordings_left" in caplog.text
    storage_is_away.undo()
    run_erasures()
    answer = followed(teller, erasure_id)
    assert (answer["state"], answer["error_code"], answer["attempts"]) == ("SUCCEEDED", "", 3)
    assert answer["receipt"]["receipt_id"] == erasure_id and answer["receipt"]["erased_at"]
    assert not storage.storage().exists(name)
    events = AuditEvent.objects.filter(target=f"erasure:{erasure_id}").order_by("sequence")
    assert [(each.action, each.customer_id) for each in events] == [
        ("erasure.queued", "ann"),
        ("customer.erased", "ann"),
        ("erasure.started", "ann"),
        ("erasure.requeued", "ann"),  # the same failure again is no news
        ("erasure.succeeded", "ann"),
    ]


def test_a_withdrawal_an_expiry_and_a_removed_recording_go_the_same_way(
    teller: APIClient, worker: StandInWorker
) -> None:
    activate_model()
    for name in ("ann", "bob", "cleo"):
        enrolled_customer(name)
    names = set(SealedAudio.objects.values_list("content", flat=True))
    services.withdraw_consent(customer_id="ann", purpose="voice_authentication", actor=TELLER)
    Customer.objects.filter(customer_id="bob").update(last_accessed_at=timezone.now() - timedelta(days=9999))
    services.expire_unused()
    sample = Customer.objects.get(customer_id="cleo").samples.get()
    samples.remove_sample(customer_id="cleo", sample_id=sample.pk, actor=TELLER)
    assert all(storage.storage().exists(name) for name in names)
    run_erasures()
    assert not any(storage.storage().exists(name) for name in names)
    listed = teller.get("/api/v1/erasures", {"state": "SUCCEEDED"}).json()["results"]
    assert {(each["customer_id"], each["cause"]) for each in listed} == {
        ("ann", "consent.withdrawn"),
        ("bob", "customer.expired"),
        ("cleo", "enrollment.sample_removed"),
    }


def test_a_rolled_back_erasure_deletes_nothing(worker: StandInWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    enrolled_customer("ann")

    def broken(**_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("enrollment.erasure.record", broken)
    with pytest.raises(RuntimeError):
        services.erase_customer(customer_id="ann", actor=TELLER)
    assert not Erasure.objects.exists()
    run_erasures()
    assert storage.storage().exists(str(SealedAudio.objects.get().content))
    assert Customer.objects.get().state == "ENROLLED"


def test_only_who_may_see_watchlists_learns_that_a_watched_voice_was_erased(
    teller: APIClient, reviewer: APIClient, ivr: APIClient
) -> None:
    erasure = Erasure.objects.create(cause="fraudster.erased", subject=Customer().pk, requested_by="rita")
    path = f"/api/v1/erasures/{erasure.pk}"
    assert error_code(teller.get(path)) == "erasure_not_found"
    assert teller.get("/api/v1/erasures").json()["count"] == 0
    assert reviewer.get(path).status_code == 200
    assert reviewer.get("/api/v1/erasures").json()["count"] == 1
    assert error_code(ivr.get(path)) == "permission_denied"


def test_an_erased_customer_who_opts_out_is_new_too(worker: StandInWorker) -> None:
    ann = customer_with_a_past("ann")
    services.erase_customer(customer_id="ann", actor=TELLER)
    before = timezone.now()
    services.withdraw_consent(customer_id="ann", purpose="voice_authentication", actor=TELLER)
    ann.refresh_from_db()
    assert ann.state == "OPTED_OUT" and ann.created_at >= before


def test_the_results_of_batches_say_nothing_of_the_recordings_of_an_erased_customer(worker: StandInWorker) -> None:
    enrolled_customer("ann")
    batch = BatchEnrollment.objects.create(content_hash="c" * 64, requested_by="ops", requested_role="admin")
    for line, name in enumerate(("ann", "bob")):
        BatchResult.objects.create(
            batch=batch,
            line=line,
            customer_id=name,
            state="ENROLLING",
            message="Two are too noisy.",
            refused=[{"location": f"{name}-smith.wav"}],
            speech_seconds=9,
        )
    services.erase_customer(customer_id="ann", actor=TELLER)
    ann, bob = BatchResult.objects.order_by("line")
    assert (ann.state, ann.message, ann.refused, ann.speech_seconds) == ("ENROLLING", "", [], 0)
    assert (bob.message, len(bob.refused)) == ("Two are too noisy.", 1)
