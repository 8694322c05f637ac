"""Reads of customers and their samples."""

from django.conf import settings
from django.db.models import QuerySet

from enrollment import keys
from enrollment.errors import CustomerNotFound
from enrollment.models import AudioSample, Customer
from voiceauth.platform import storage as audio_store


def customers() -> QuerySet[Customer]:
    """Return all customers but the erased, by identifier, with their consents, the latest first."""
    known = Customer.objects.exclude(state=Customer.State.ERASED)
    return known.prefetch_related("consents").order_by("customer_id")


def customer(customer_id: str) -> Customer:
    """Return one customer. Raises ``CustomerNotFound``, for an erased one as well."""
    found = customers().filter(customer_id=customer_id).first()
    if found is None:
        raise CustomerNotFound
    return found


def samples(customer_id: str) -> QuerySet[AudioSample]:
    """Return the customer's samples, the oldest first. Raises ``CustomerNotFound``."""
    return customer(customer_id).samples.order_by("created_at", "id")


def sample_audio(sample: AudioSample) -> bytes:
    """Return a sample's recording, unsealed. Whoever plays it records that in the audit trail."""
    return keys.unseal_audio(sample.customer, sample.pk, audio_store.read(sample.audio.content))


def has_consent(customer: Customer) -> bool:
    """Return whether the customer consents now to audio being stored and scored."""
    return customer.consents.filter(withdrawn_at=None).exists()


def remaining_seconds(customer: Customer) -> float:
    """Return the net speech, in seconds, that the customer still needs to be enrolled."""
    return max(0.0, settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS - customer.speech_seconds)
