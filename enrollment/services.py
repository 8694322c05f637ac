"""Services on customers: create, consent, withdraw, lock, expire, erase. Each is one transaction with its event.

Recordings are in ``samples``; which state may follow which, in ``lifecycle``.

Every service locks the customer's row first and writes to the trail last, so that two of them, on one
customer or on two, never wait for each other in a circle.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from enrollment import erasure, keys, lifecycle, selectors
from enrollment.errors import ConsentExists, CustomerExists, CustomerNotFound, CustomerNotLocked
from enrollment.models import Consent, Customer
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.screening.services import forget_voice

State = Customer.State
NO_VOICE: dict[str, Any] = {
    "speech_seconds": 0,
    "enrolled_at": None,
    "last_accessed_at": None,
    "refusals": 0,
    "refused_at": None,
}


@dataclass(frozen=True, kw_only=True)
class ErasureReceipt:
    """What was erased, and when (BIPA §15, GDPR Art. 17)."""

    receipt_id: uuid.UUID
    customer_id: str
    samples: int
    voiceprints: int
    call_recordings: int
    erased_at: datetime


@transaction.atomic
def create_customer(*, customer_id: str, display_name: str = "", actor: Actor) -> Customer:
    """A customer, PENDING; also one who was erased and comes back. Raises ``CustomerExists``."""
    customer = Customer.objects.select_for_update().filter(customer_id=customer_id, state=State.ERASED).first()
    if customer is not None:
        lifecycle.move(
            customer,
            State.PENDING,
            display_name=display_name,
            data_key=keys.new_data_key(customer.pk),
            created_at=timezone.now(),
        )
    else:
        customer = _new(customer_id, State.PENDING, display_name)
    record(action="customer.created", actor=actor, customer_id=customer_id, after={"state": customer.state})
    return customer


@transaction.atomic
def erase_customer(*, customer_id: str, actor: Actor) -> ErasureReceipt:
    """Any state -> ERASED: name, key, consents and voice are gone. Decisions and the trail stay.

    Raises ``CustomerNotFound``.
    """
    customer = locked(customer_id)
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    receipt = _erase_voice(customer)
    customer.consents.all().delete()
    lifecycle.move(customer, State.ERASED, display_name="", data_key=b"", **NO_VOICE)
    _record_erasure("customer.erased", receipt, actor, before=before, after={"state": customer.state})
    return receipt


@transaction.atomic
def give_consent(*, customer_id: str, purpose: str, text_version: str, origin: str, actor: Actor) -> Consent:
    """Records what the customer agreed to; a new version of the text replaces the old one.

    OPTED_OUT -> PENDING. Raises ``CustomerNotFound``, and ``ConsentExists`` for the same version again.
    """
    customer = locked(customer_id)
    current = customer.consents.filter(purpose=purpose, withdrawn_at=None).first()
    if current is not None and current.text_version == text_version:
        raise ConsentExists(text_version=text_version)
    before = {"state": customer.state, "text_version": current.text_version if current else None}
    if current is not None:
        current.withdrawn_at = timezone.now()
        current.save(update_fields=["withdrawn_at"])
    consent = Consent.objects.create(
        customer=customer, purpose=purpose, text_version=text_version, origin=origin, granted_by=actor.name
    )
    if customer.state == State.OPTED_OUT:
        lifecycle.move(customer, State.PENDING)
    record(
        action="consent.given",
        actor=actor,
        customer_id=customer_id,
        before=before,
        after={"state": customer.state, "text_version": text_version},
        data={"purpose": purpose, "origin": origin},
    )
    return consent


@transaction.atomic
def withdraw_consent(*, customer_id: str, purpose: str, origin: str = "", actor: Actor) -> ErasureReceipt:
    """Any state -> OPTED_OUT: all audio, embeddings and voiceprints are erased; the consent's record stays.

    Works without a consent too, and before there is a customer: then a tombstone remembers the opt-out.
    """
    customer = Customer.objects.select_for_update().filter(customer_id=customer_id).first()
    if customer is None:
        try:
            with transaction.atomic():
                customer = _new(customer_id, State.OPTED_OUT)
        except CustomerExists:  # created this moment
            customer = locked(customer_id)
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    customer.consents.filter(purpose=purpose, withdrawn_at=None).update(withdrawn_at=timezone.now())
    receipt = _erase_voice(customer)
    # What a backup still holds under the old key cannot be read.
    lifecycle.move(customer, State.OPTED_OUT, data_key=keys.new_data_key(customer.pk), **NO_VOICE)
    data = {"purpose": purpose, "origin": origin}
    _record_erasure("consent.withdrawn", receipt, actor, before=before, after={"state": customer.state}, data=data)
    return receipt


@transaction.atomic
def lock_customer(*, customer_id: str, reason: str, actor: Actor) -> Customer:
    """PENDING, ENROLLING or ENROLLED -> LOCKED: no call is scored.

    Raises ``CustomerNotFound`` and ``TransitionRefused``.
    """
    customer = locked(customer_id)
    before = customer.state
    lifecycle.move(customer, State.LOCKED)
    _record_state("customer.locked", customer, actor, before=before, reason=reason)
    return customer


@transaction.atomic
def unlock_customer(*, customer_id: str, reason: str, actor: Actor) -> Customer:
    """LOCKED -> what the recordings amount to; the count of refusals starts over.

    Raises ``CustomerNotFound``, and ``CustomerNotLocked``.
    """
    customer = locked(customer_id)
    if customer.state != State.LOCKED:
        raise CustomerNotLocked(state=customer.state)
    lifecycle.move(customer, state_of_speech(customer), refusals=0, refused_at=None)
    _record_state("customer.unlocked", customer, actor, before=State.LOCKED, reason=reason)
    return customer


def expire_unused() -> int:
    """ENROLLING, ENROLLED or LOCKED -> EXPIRED where the voice was not used for ``VOICEAUTH_EXPIRE_UNUSED_DAYS``.

    BIPA §15(a): the voice is destroyed; the consent stands. One transaction a customer. Returns how many.
    """
    unused = models.Q(last_accessed_at__lt=timezone.now() - timedelta(days=settings.VOICEAUTH_EXPIRE_UNUSED_DAYS))
    unused &= models.Q(state__in=[State.ENROLLING, State.ENROLLED, State.LOCKED])
    expired = 0
    for pk in list(Customer.objects.filter(unused).values_list("pk", flat=True)):
        with transaction.atomic():
            customer = Customer.objects.select_for_update().filter(unused, pk=pk).first()
            if customer is None:
                continue  # used, or erased, meanwhile
            before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
            receipt = _erase_voice(customer)
            lifecycle.move(customer, State.EXPIRED, data_key=keys.new_data_key(pk), **NO_VOICE)
            after = {"state": customer.state}
            _record_erasure("customer.expired", receipt, SYSTEM, before=before, after=after)
            expired += 1
    return expired


def locked(customer_id: str) -> Customer:
    """The customer, locked until the transaction ends. Raises ``CustomerNotFound``, for an erased one as well."""
    rows = Customer.objects.select_for_update().exclude(state=State.ERASED)
    customer = rows.filter(customer_id=customer_id).first()
    if customer is None:
        raise CustomerNotFound
    return customer


def state_of_speech(customer: Customer) -> str:
    """What the net speech that counts amounts to."""
    if selectors.remaining_seconds(customer) == 0:
        return State.ENROLLED
    return State.ENROLLING if customer.speech_seconds else State.PENDING


def _new(customer_id: str, state: str, display_name: str = "") -> Customer:
    customer = Customer(customer_id=customer_id, state=state, display_name=display_name)
    customer.data_key = keys.new_data_key(customer.pk)
    try:
        with transaction.atomic():
            customer.save(force_insert=True)
    except IntegrityError as error:
        raise CustomerExists from error
    return customer


def _erase_voice(customer: Customer) -> ErasureReceipt:
    """Erases recordings, embeddings and voiceprints, here and in the rooms above. The consents stay."""
    erased = erasure.forget_everywhere(customer)
    for rows in (customer.samples, customer.voiceprints, customer.heard):
        erased |= rows.all().delete()[1]
    forget_voice(customer.customer_id)
    return ErasureReceipt(
        receipt_id=uuid.uuid4(),
        customer_id=customer.customer_id,
        samples=erased.get("enrollment.AudioSample", 0),
        voiceprints=erased.get("enrollment.Voiceprint", 0),
        call_recordings=erased.get("call_recordings", 0),
        erased_at=timezone.now(),
    )


def _record_state(action: str, customer: Customer, actor: Actor, *, before: str, reason: str) -> None:
    record(
        action=action,
        actor=actor,
        customer_id=customer.customer_id,
        before={"state": before},
        after={"state": customer.state},
        data={"reason": reason},
    )


def _record_erasure(action: str, receipt: ErasureReceipt, actor: Actor, *, data: Any = None, **change: Any) -> None:
    counts = {
        "samples": receipt.samples,
        "voiceprints": receipt.voiceprints,
        "call_recordings": receipt.call_recordings,
    }
    record(
        action=action,
        actor=actor,
        customer_id=receipt.customer_id,
        target=f"receipt:{receipt.receipt_id}",
        data={**counts, **(data or {})},
        **change,
    )
