"""Enrolled customers with synthetic voices, as the services leave them."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from enrollment import keys
from enrollment.models import AudioSample, Consent, Customer, SealedAudio
from mltraining import scorer
from tests.mltraining import tiny
from tests.mltraining.speech.synthetic import voice, wav


def enrolled(number: int, *, clips: int = 4, seconds: float = 1.5, **fields: Any) -> Customer:
    """Customer ``BANK-<number>`` with ``clips`` recordings, and a current consent."""
    customer = Customer(customer_id=f"BANK-{number}", **({"state": Customer.State.ENROLLED} | fields))
    customer.data_key = keys.new_data_key(customer.pk)
    customer.save()
    Consent.objects.create(
        customer=customer,
        purpose=Consent.Purpose.VOICE_AUTHENTICATION,
        text_version="1",
        origin="branch",
        granted_by="teller",
    )
    for take in range(clips):
        add_recording(customer, number, take, seconds=seconds)
    return customer


def add_recording(customer: Customer, number: int, take: int, *, seconds: float = 1.5) -> AudioSample:
    audio = wav(voice(number, seconds=seconds, sample_rate=8000, take=take), 8000)
    sample = AudioSample.objects.create(
        customer=customer,
        created_by="teller",
        sha256=keys.audio_hash(customer, audio),
        byte_count=len(audio),
        container="wav",
        codec="pcm_s16le",
        sample_rate=8000,
        duration_seconds=seconds,
        speech_seconds=seconds * 0.8,
        snr_db=30.0,
        clipping_ratio=0.0,
    )
    SealedAudio.objects.create(sample=sample, content=keys.seal_audio(customer, sample.pk, audio))
    return sample


def withdraw(customer: Customer) -> None:
    customer.consents.update(withdrawn_at=timezone.now())


@pytest.fixture
def small_recogniser(tmp_path: Path, settings: Any) -> Path:
    """Folders of the test's own, and a training that takes seconds."""
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_RUNS_DIR = tmp_path / "runs"
    settings.VOICEAUTH_TRAINING_OVERRIDES = [*tiny.OVERRIDES, "training.epochs=2"]
    scorer._models.clear()
    return tmp_path


def run_folder(root: Path, run_id: uuid.UUID) -> Path:
    return root / "runs" / str(run_id)
