"""Erasing again what a restored backup has brought back: the erasures of this room, as the journal has them."""

from django.db import transaction

from enrollment import erasure, samples, services
from enrollment.models import Consent, Customer
from mltraining.locks import lock_gallery
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure.journal import Entry

REASON = "repeated after a restore"


def register() -> None:
    """Tell the journal how erasures of customers are repeated."""
    journal.register(erasure.CUSTOMER_ERASED, _erase)
    journal.register(services.CONSENT_WITHDRAWN, _withdraw)
    journal.register(services.CUSTOMER_EXPIRED, _expire)
    journal.register(samples.SAMPLE_REMOVED, _remove_samples)


def _erase(entry: Entry) -> None:
    customer = Customer.objects.exclude(state=Customer.State.ERASED).filter(pk=entry.subject).first()
    if customer is not None:
        services.erase_customer(customer_id=customer.customer_id, reason=REASON, actor=SYSTEM)


def _withdraw(entry: Entry) -> None:
    """Opt out, also whom the backup does not know: the row remembers it."""
    services.withdraw_consent(
        customer_id=entry.customer_id, purpose=Consent.Purpose.VOICE_AUTHENTICATION, origin=REASON, actor=SYSTEM
    )


@transaction.atomic
def _expire(entry: Entry) -> None:
    known = Customer.objects.select_for_update().exclude(state=Customer.State.ERASED)
    customer = known.filter(pk=entry.subject).first()
    if customer is not None:
        services.expire(customer)


@transaction.atomic
def _remove_samples(entry: Entry) -> None:
    lock_gallery(shared=True)
    customer = Customer.objects.select_for_update().filter(pk=entry.subject).first()
    if customer is not None:
        samples.remove(customer, list(customer.samples.filter(audio__content__in=entry.recordings)), actor=SYSTEM)
