"""Customers, as the services leave them: enrolled through the services, or made as rows with recordings."""

from typing import Any

from django.utils import timezone

from enrollment import keys, samples, services
from enrollment.models import AudioSample, Consent, Customer, SealedAudio
from tests.support.audio import tone, voice, wav
from tests.support.stand_in import recording
from voiceauth.platform.audit import Actor
from voiceauth.platform.erasure import job
from voiceauth.platform.erasure.models import Erasure

TELLER = Actor(name="branch-7", role="teller")
IVR = Actor(name="ivr-1", role="ivr")


def consenting_customer(customer_id: str) -> Customer:
    services.create_customer(customer_id=customer_id, actor=TELLER)
    services.give_consent(
        customer_id=customer_id,
        purpose=Consent.Purpose.VOICE_AUTHENTICATION,
        text_version="2026-09",
        origin="branch",
        actor=TELLER,
    )
    return Customer.objects.get(customer_id=customer_id)


def enrolled_customer(customer_id: str) -> Customer:
    """Needs ``worker``; the customer's voice is called like the customer."""
    consenting_customer(customer_id)
    samples.enroll_sample(
        customer_id=customer_id, audio=recording(customer_id, take=0, speech_seconds=30.0), actor=TELLER
    )
    return Customer.objects.get(customer_id=customer_id)


def make_customer(customer_id: str = "C-1001", **fields: Any) -> Customer:
    given = {"display_name": "Ada Example", "state": Customer.State.ENROLLED, "speech_seconds": 31.4} | fields
    customer = Customer(customer_id=customer_id, **given)
    customer.data_key = keys.new_data_key(customer.pk)
    customer.save()
    Consent.objects.create(
        customer=customer,
        purpose=Consent.Purpose.VOICE_AUTHENTICATION,
        text_version="2026-09",
        origin="branch",
        granted_by="teller-app",
    )
    return customer


def make_sample(customer: Customer, number: int = 1, *, audio: bytes | None = None, **fields: Any) -> AudioSample:
    """A recording of ``customer`` with its sealed audio, by default a tone."""
    audio = tone(300 + number) if audio is None else audio
    given = {
        "created_by": "teller-app",
        "sha256": keys.audio_hash(customer, audio),
        "byte_count": len(audio),
        "container": "wav",
        "codec": "pcm_s16le",
        "sample_rate": 8000,
        "duration_seconds": 10.0,
        "speech_seconds": 8.1,
        "snr_db": 24.3,
        "clipping_ratio": 0.001,
    } | fields
    sample = AudioSample.objects.create(customer=customer, **given)
    SealedAudio.objects.create(sample=sample, content=keys.seal_audio(customer, sample.pk, audio))
    return sample


def enrolled(number: int, *, clips: int = 4, seconds: float = 1.5, **fields: Any) -> Customer:
    """Customer ``BANK-<number>`` with ``clips`` recordings in a synthetic voice, and a current consent."""
    given = {"display_name": "", "speech_seconds": clips * seconds * 0.8} | fields
    customer = make_customer(f"BANK-{number}", **given)
    for take in range(clips):
        add_recording(customer, number, take, seconds=seconds)
    return customer


def add_recording(customer: Customer, number: int, take: int, *, seconds: float = 1.5) -> AudioSample:
    """A recording in the synthetic voice ``number``."""
    audio = wav(voice(number, seconds=seconds, sample_rate=8000, take=take), 8000)
    return make_sample(customer, audio=audio, duration_seconds=seconds, speech_seconds=seconds * 0.8, snr_db=30.0)


def withdraw(customer: Customer) -> None:
    customer.consents.update(withdrawn_at=timezone.now())


def run_erasures() -> None:
    """One attempt at every erasure that waits, as the training worker makes it."""
    for pk in list(Erasure.waiting().values_list("pk", flat=True)):
        job.execute(pk)
