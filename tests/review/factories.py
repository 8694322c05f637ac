"""Rows for the review pages, as the services would leave them."""

import io
import math
import struct
import wave
from array import array
from datetime import timedelta
from typing import Any

from django.utils import timezone

from enrollment.keys import new_data_key, seal_audio, seal_call
from enrollment.models import AudioSample, Consent, Customer, SealedAudio
from mltraining.models import ModelVersion
from tests import evidence
from voiceauth.retraining.models import TrainingRun
from voiceauth.verification.models import CallAudio, Decision


def make_customer(customer_id: str = "C-1001", **fields: Any) -> Customer:
    given = {"display_name": "Ada Example", "state": Customer.State.ENROLLED, "speech_seconds": 31.4} | fields
    customer = Customer(customer_id=customer_id, **given)
    customer.data_key = new_data_key(customer.pk)
    customer.save()
    Consent.objects.create(
        customer=customer,
        purpose=Consent.Purpose.VOICE_AUTHENTICATION,
        text_version="2026-09",
        origin="branch",
        granted_by="teller-app",
    )
    return customer


def make_sample(customer: Customer, number: int = 1, **fields: Any) -> AudioSample:
    sample = AudioSample.objects.create(
        customer=customer,
        created_by=fields.pop("created_by", "teller-app"),
        sha256=f"{number:064x}",
        byte_count=160_044,
        container="wav",
        codec="pcm_s16le",
        sample_rate=8000,
        duration_seconds=10.0,
        speech_seconds=8.1,
        snr_db=24.3,
        clipping_ratio=0.001,
        **fields,
    )
    SealedAudio.objects.create(sample=sample, content=seal_audio(customer, sample.pk, tone(300 + number)))
    return sample


def make_decision(customer_id: str = "C-1001", **fields: Any) -> Decision:
    given = {
        "kind": Decision.Kind.VERIFY,
        "decision": Decision.Result.ACCEPT,
        "probability": 0.9871,
        "threshold": 0.5,
        "log_likelihood_ratio": 8.93,
        "score": 0.71,
        "speech_seconds": 5.2,
        "snr_db": 21.0,
        "clipping_ratio": 0.0,
        "model_version": "20261124-203015-3fa9c1",
        "model_fingerprint": "3fa9c1" + "0" * 58,
        "calibration_version": "c1",
        "actor": "ivr",
        "request_id": "5f1c3a52-req",
        "scoring_milliseconds": 84.2,
    } | fields
    return Decision.objects.create(customer_id=customer_id, **given)


def keep_audio(decision: Decision, customer: Customer, audio: bytes | None = None) -> CallAudio:
    return CallAudio.objects.create(
        decision=decision,
        customer=customer,
        content=seal_call(customer, decision.pk, tone(440) if audio is None else audio),
        expires_at=timezone.now() + timedelta(days=30),
    )


def tone(hertz: float, seconds: float = 1.0, sample_rate: int = 8000) -> bytes:
    """A WAV file of a sine wave, as a telephone system would send it: mono, 16 bit."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        count = int(seconds * sample_rate)
        samples = (int(8000 * math.sin(2 * math.pi * hertz * n / sample_rate)) for n in range(count))
        file.writeframes(array("h", samples).tobytes())
    return content.getvalue()


def mu_law(seconds: float = 1.0, sample_rate: int = 8000) -> bytes:
    """A G.711 mu-law WAV file: a square wave of 200 Hz."""
    half = sample_rate // 400
    samples = (b"\x90" * half + b"\x10" * half) * int(seconds * 200)
    layout = struct.pack("<HHIIHH", 7, 1, sample_rate, sample_rate, 1, 8)  # WAVE_FORMAT_MULAW, mono, 8 bit
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def make_model(version: str = "20261124-203015-3fa9c1", **fields: Any) -> ModelVersion:
    given = {
        "fingerprint": version[-6:] + "0" * 58,
        "calibration_version": "c1",
        "metrics": {
            "roc_auc": 0.9997,
            "eer": 0.0061,
            "rank_one": 0.984,
            "false_accept_rate": 0.0003,
            "target_trials": 615,
            "impostor_trials": 30135,
            "head": {"roc_auc": 0.9991},
        },
        "config": {"training": {"epochs": 15}},
        "data_hash": "d" * 64,
    } | fields
    if given.get("state") == ModelVersion.State.ACTIVE:
        given.setdefault("activated_at", timezone.now() - timedelta(days=3))
    model = ModelVersion.objects.create(version=version, **given)
    evidence.calibrate(model)
    return model


def make_run(**fields: Any) -> TrainingRun:
    given = {
        "state": TrainingRun.State.RUNNING,
        "requested_by": "user:grace",
        "progress_percent": 46.0,
        "phase": "training",
        "epoch": 7,
        "epochs": 15,
        "speakers": 50,
        "clips": 1204,
        "started_at": timezone.now() - timedelta(minutes=3),
        "heartbeat_at": timezone.now(),
        "config": {"training.epochs": 15},
        "metrics": [epoch_metrics(epoch) for epoch in range(1, 8)],
    } | fields
    return TrainingRun.objects.create(**given)


def epoch_metrics(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train_loss": 0.68 * math.exp(-epoch / 4),
        "validation_loss": 0.7 * math.exp(-epoch / 5) + 0.02,
        "roc_auc": 1 - 0.12 * math.exp(-epoch / 3),
    }
