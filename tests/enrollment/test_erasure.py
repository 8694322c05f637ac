"""What is left of a customer who was erased, and what they bring along when they come back."""

from datetime import timedelta

import pytest
from django.db.models import ForeignObjectRel
from django.utils import timezone
from rest_framework.test import APIClient

from enrollment import services
from enrollment.models import Customer, HeardRecording
from tests.customers import IVR, TELLER, StandInWorker, activate_model, enrolled_customer, recording
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
