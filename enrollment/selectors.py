"""Reads of customers and their samples."""

from django.conf import settings
from django.db.models import QuerySet

from enrollment import keys
from enrollment.errors import CustomerNotFound
from enrollment.models import AudioSample, Customer
from voiceauth.platform import storage as audio_store


def customers() -> QuerySet[Customer]:
    """All customers by identifier, with their consents (the latest first). Who was erased is not among them."""
    known = Customer.objects.exclude(state=Customer.State.ERASED)
    return known.prefetch_related("consents").order_by("customer_id")


def customer(customer_id: str) -> Customer:
    """Raises ``CustomerNotFound``."""
    found = customers().filter(customer_id=customer_id).first()
    if found is None:
        raise CustomerNotFound
    return found


def samples(customer_id: str) -> QuerySet[AudioSample]:
    """The customer's accepted samples, the first one first. Raises ``CustomerNotFound``."""
    return customer(customer_id).samples.order_by("created_at", "id")


def sample_audio(sample: AudioSample) -> bytes:
    """The recording as it was uploaded. Whoever plays it records that in the trail."""
    return keys.unseal_audio(sample.customer, sample.pk, audio_store.read(sample.audio.content))


def has_consent(customer: Customer) -> bool:
    """Whether the customer agrees, now, that audio is stored and scored."""
    return customer.consents.filter(withdrawn_at=None).exists()


def remaining_seconds(customer: Customer) -> float:
    """The net speech, in seconds, that the customer lacks to be enrolled."""
    return max(0.0, settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS - customer.speech_seconds)
