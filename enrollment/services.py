"""Services on customers: create, consent, withdraw, lock, expire, erase. Each is one transaction with its audit event.

Services on recordings are in ``samples``; ``lifecycle`` says which state may follow which; ``erasure`` erases a voice.

Every service locks the customer's row first and writes to the audit trail last, so that two of them, on one customer
or on two, never wait for each other in a circle.
"""

import hashlib
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from enrollment import erasure, keys, lifecycle, selectors
from enrollment.errors import (
    ConsentExists,
    ConsentTextDiffers,
    ConsentTextExists,
    ConsentTextNotFound,
    CustomerExists,
    CustomerNotFound,
    CustomerNotLocked,
)
from enrollment.models import Consent, ConsentText, Customer
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure.models import Erasure

State = Customer.State

CONSENT_WITHDRAWN = "consent.withdrawn"
CUSTOMER_EXPIRED = "customer.expired"


@transaction.atomic
def create_customer(*, customer_id: str, display_name: str = "", actor: Actor) -> Customer:
    """Create a customer, PENDING. One who was erased and comes back is a new customer. Raises ``CustomerExists``."""
    customer = Customer.objects.select_for_update().filter(customer_id=customer_id, state=State.ERASED).first()
    if customer is not None:
        lifecycle.move(customer, State.PENDING, display_name=display_name, data_key=keys.new_data_key(customer.pk))
    else:
        customer = _new(customer_id, State.PENDING, display_name)
    record(action="customer.created", actor=actor, customer_id=customer_id, after={"state": customer.state})
    return customer


@transaction.atomic
def erase_customer(*, customer_id: str, reason: str = "", actor: Actor) -> Erasure:
    """Any state -> ERASED: name, key, consents and voice are gone. Decisions and the audit trail stay.

    The trail keeps the ``reason`` where one is given. Return the erasure of the files, which a job carries out. Raises
    ``CustomerNotFound``.
    """
    customer = locked(customer_id)
    customer.consents.all().delete()
    return erasure.erase_voice(
        customer,
        cause=erasure.CUSTOMER_ERASED,
        to=State.ERASED,
        actor=actor,
        data={"reason": reason} if reason else None,
        display_name="",
        data_key=b"",
    )


@transaction.atomic
def store_consent_text(*, version: str, text: str, actor: Actor) -> ConsentText:
    """Store a text that customers are shown. It never changes. Raises ``ConsentTextExists``."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    stored = ConsentText(version=version, text=text, sha256=sha256, created_by=actor.name)
    try:
        with transaction.atomic():
            stored.save(force_insert=True)
    except IntegrityError as error:
        raise ConsentTextExists(text_version=version) from error
    record(action="consent_text.stored", actor=actor, target=f"consent_text:{version}", after={"text_sha256": sha256})
    return stored


@transaction.atomic
def give_consent(
    *, customer_id: str, purpose: str, text_version: str, text_sha256: str = "", origin: str, actor: Actor
) -> Consent:
    """Record what the customer agreed to; a new version of the text replaces the old one.

    OPTED_OUT -> PENDING. Raises ``CustomerNotFound``, ``ConsentExists`` for the same version again, and as
    ``_hash_of_text`` does.
    """
    customer = locked(customer_id)
    text_sha256 = _hash_of_text(text_version, shown=text_sha256, purpose=purpose)
    current = customer.consents.filter(purpose=purpose, withdrawn_at=None).first()
    if current is not None and current.text_version == text_version:
        raise ConsentExists(text_version=text_version)
    before = {"state": customer.state, "text_version": current.text_version if current else None}
    if current is not None:
        current.withdrawn_at = timezone.now()
        current.save(update_fields=["withdrawn_at"])
    consent = Consent.objects.create(
        customer=customer,
        purpose=purpose,
        text_version=text_version,
        text_sha256=text_sha256,
        origin=origin,
        granted_by=actor.name,
    )
    if customer.state == State.OPTED_OUT:
        lifecycle.move(customer, State.PENDING)
    record(
        action="consent.given",
        actor=actor,
        customer_id=customer_id,
        before=before,
        after={"state": customer.state, "text_version": text_version, "text_sha256": text_sha256},
        data={"purpose": purpose, "origin": origin},
    )
    return consent


@transaction.atomic
def withdraw_consent(*, customer_id: str, purpose: str, origin: str = "", actor: Actor) -> Erasure:
    """Any state -> OPTED_OUT: all audio, embeddings and voiceprints are erased; the record of the consent stays.

    It works without a consent too. Where there is no customer yet, a row is made that remembers the opt-out. Return
    the erasure of the files, which a job carries out.
    """
    customer = Customer.objects.select_for_update().filter(customer_id=customer_id).first()
    if customer is None:
        try:
            with transaction.atomic():
                customer = _new(customer_id, State.OPTED_OUT)
        except CustomerExists:  # another request created it
            customer = locked(customer_id)
    customer.consents.filter(withdrawn_at=None).update(withdrawn_at=timezone.now())  # no voice is left for any purpose
    return erasure.erase_voice(
        customer,
        cause=CONSENT_WITHDRAWN,
        to=State.OPTED_OUT,
        actor=actor,
        data={"purpose": purpose, "origin": origin},
        data_key=keys.new_data_key(customer.pk),
    )


@transaction.atomic
def lock_customer(*, customer_id: str, reason: str, actor: Actor) -> Customer:
    """PENDING, ENROLLING or ENROLLED -> LOCKED: no call is scored.

    Raises ``CustomerNotFound`` and ``TransitionRefused``.
    """
    customer = locked(customer_id)
    before = {"state": customer.state}
    lifecycle.move(customer, State.LOCKED)
    _record_state("customer.locked", customer, actor, before=before, reason=reason)
    return customer


@transaction.atomic
def unlock_customer(*, customer_id: str, reason: str, actor: Actor) -> Customer:
    """LOCKED -> the state that the net speech amounts to. The count of refusals starts over, which ends a delay, too.

    Raises ``CustomerNotFound``, and ``CustomerNotLocked`` where there is neither a lock nor a refusal.
    """
    customer = locked(customer_id)
    if customer.state != State.LOCKED and not customer.refusals:
        raise CustomerNotLocked(state=customer.state)
    before = {"state": customer.state, "refusals": customer.refusals}
    state = state_of_speech(customer) if customer.state == State.LOCKED else customer.state
    lifecycle.move(customer, state, refusals=0, refused_at=None)
    _record_state("customer.unlocked", customer, actor, before=before, reason=reason)
    return customer


def expire_unused() -> int:
    """ENROLLING, ENROLLED or LOCKED -> EXPIRED where the voice was not used for ``VOICEAUTH_EXPIRE_UNUSED_DAYS``.

    The voice is erased, and the consent stands (BIPA §15(a)). One transaction for each customer. Return how many.
    """
    unused = models.Q(last_accessed_at__lt=timezone.now() - timedelta(days=settings.VOICEAUTH_EXPIRE_UNUSED_DAYS))
    unused &= models.Q(state__in=[State.ENROLLING, State.ENROLLED, State.LOCKED])
    expired = 0
    for pk in list(Customer.objects.filter(unused).values_list("pk", flat=True)):
        with transaction.atomic():
            customer = Customer.objects.select_for_update().filter(unused, pk=pk).first()
            if customer is None:
                continue  # used, or erased, meanwhile
            expire(customer)
            expired += 1
    return expired


def expire(customer: Customer) -> Erasure:
    """Erase the voice of a locked customer, within the caller's transaction: EXPIRED, and the consent stands.

    Raises ``TransitionRefused``.
    """
    return erasure.erase_voice(
        customer, cause=CUSTOMER_EXPIRED, to=State.EXPIRED, actor=SYSTEM, data_key=keys.new_data_key(customer.pk)
    )


def locked(customer_id: str) -> Customer:
    """Return the customer, their row locked until the transaction ends.

    Raises ``CustomerNotFound``, for an erased customer as well.
    """
    rows = Customer.objects.select_for_update().exclude(state=State.ERASED)
    customer = rows.filter(customer_id=customer_id).first()
    if customer is None:
        raise CustomerNotFound
    return customer


def state_of_speech(customer: Customer) -> str:
    """Return the state that the customer's net speech amounts to: ENROLLED, ENROLLING or PENDING."""
    if selectors.remaining_seconds(customer) == 0:
        return State.ENROLLED
    return State.ENROLLING if customer.speech_seconds else State.PENDING


def _hash_of_text(version: str, *, shown: str, purpose: str) -> str:
    """Return the SHA-256 of the stored text, or nothing where none is stored and none need be.

    Raises ``ConsentTextNotFound``, and ``ConsentTextDiffers`` where the customer was ``shown`` another text.
    """
    text = ConsentText.objects.filter(version=version).first()
    if text is None:
        is_required = settings.VOICEAUTH_REQUIRE_CONSENT_TEXT and purpose != Consent.Purpose.TRIAL
        if shown or is_required:
            raise ConsentTextNotFound(text_version=version)
        return ""
    if shown and shown != text.sha256:
        raise ConsentTextDiffers(text_version=version, sha256=text.sha256)
    return text.sha256


def _new(customer_id: str, state: str, display_name: str = "") -> Customer:
    customer = Customer(customer_id=customer_id, state=state, display_name=display_name)
    customer.data_key = keys.new_data_key(customer.pk)
    try:
        with transaction.atomic():
            customer.save(force_insert=True)
    except IntegrityError as error:
        raise CustomerExists from error
    return customer


def _record_state(action: str, customer: Customer, actor: Actor, *, before: dict[str, Any], reason: str) -> None:
    record(
        action=action,
        actor=actor,
        customer_id=customer.customer_id,
        before=before,
        after={"state": customer.state},
        data={"reason": reason},
    )
