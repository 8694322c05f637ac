"""Services on customers: create, consent, enroll, withdraw, erase. Each is one transaction with its audit event.

Every service locks the customer's row first and writes to the trail last, so that two of them, on one
customer or on two, never wait for each other in a circle.
"""

import base64
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from enrollment import gate, keys, retraining, selectors, voiceprints
from enrollment.errors import (
    ConsentExists,
    ConsentRequired,
    CustomerExists,
    CustomerLocked,
    CustomerNotFound,
    DuplicateSample,
    ModelSwitched,
    OptedOut,
    SampleNotFound,
)
from enrollment.models import AudioSample, Consent, Customer, SealedAudio
from mltraining import scoring_client
from mltraining import selectors as models_in_service
from voiceauth.audit import Actor
from voiceauth.audit.services import record

State = Customer.State


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
    """A customer, PENDING. Raises ``CustomerExists``."""
    customer = Customer(customer_id=customer_id, display_name=display_name)
    customer.data_key = keys.new_data_key(customer.pk)
    try:
        with transaction.atomic():
            customer.save(force_insert=True)
    except IntegrityError as error:
        raise CustomerExists from error
    record(action="customer.created", actor=actor, customer_id=customer_id, after={"state": customer.state})
    return customer


@transaction.atomic
def erase_customer(*, customer_id: str, actor: Actor) -> ErasureReceipt:
    """Deletes the customer, all audio, embeddings and voiceprints. Decisions and the trail stay.

    Raises ``CustomerNotFound``.
    """
    customer = _locked(customer_id)
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    receipt = _erase_voice(customer)
    customer.delete()
    _record_erasure("customer.erased", receipt, actor, before=before)
    return receipt


@transaction.atomic
def give_consent(*, customer_id: str, purpose: str, text_version: str, channel: str, actor: Actor) -> Consent:
    """Records what the customer agreed to; a new version of the text replaces the old one.

    OPTED_OUT -> PENDING. Raises ``CustomerNotFound``, and ``ConsentExists`` for the same version again.
    """
    customer = _locked(customer_id)
    current = customer.consents.filter(purpose=purpose, withdrawn_at=None).first()
    if current is not None and current.text_version == text_version:
        raise ConsentExists(text_version=text_version)
    before = {"state": customer.state, "text_version": current.text_version if current else None}
    if current is not None:
        current.withdrawn_at = timezone.now()
        current.save(update_fields=["withdrawn_at"])
    consent = Consent.objects.create(
        customer=customer, purpose=purpose, text_version=text_version, channel=channel, granted_by=actor.name
    )
    if customer.state == State.OPTED_OUT:
        customer.state = State.PENDING
        customer.save(update_fields=["state"])
    record(
        action="consent.given",
        actor=actor,
        customer_id=customer_id,
        before=before,
        after={"state": customer.state, "text_version": text_version},
        data={"purpose": purpose, "channel": channel},
    )
    return consent


@transaction.atomic
def withdraw_consent(*, customer_id: str, purpose: str, channel: str = "", actor: Actor) -> ErasureReceipt:
    """Any state -> OPTED_OUT: all audio, embeddings and voiceprints are erased; the consent's record stays.

    Works without a consent too: an opt-out may come first. Raises ``CustomerNotFound``.
    """
    customer = _locked(customer_id)
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    customer.consents.filter(purpose=purpose, withdrawn_at=None).update(withdrawn_at=timezone.now())
    receipt = _erase_voice(customer)
    customer.data_key = keys.new_data_key(customer.pk)  # what a backup still holds of the old one cannot be read
    customer.state, customer.speech_seconds, customer.enrolled_at = State.OPTED_OUT, 0, None
    customer.save()
    data = {"purpose": purpose, "channel": channel}
    _record_erasure("consent.withdrawn", receipt, actor, before=before, after={"state": customer.state}, data=data)
    return receipt


def enroll_sample(*, customer_id: str, audio: bytes, actor: Actor) -> AudioSample:
    """Adds one recording to the customer's enrollment: sealed audio, embedding, voiceprint, state.

    Refusals, in this order: ``CustomerNotFound``; ``OptedOut``, ``ConsentRequired``, ``CustomerLocked``; what is
    wrong with the recording (``InvalidAudio``); ``ScoringUnavailable``; ``SampleRefused`` by the gate;
    ``DuplicateSample``. Nothing of a refused recording is stored.
    """
    _require_enrollable(selectors.customer(customer_id))
    for _ in range(2):  # the second time where a promotion came between the analysis and its storage
        analysis = _analyse(audio)
        gate.check(analysis.report)
        with transaction.atomic():
            voiceprints.lock_gallery(shared=True)
            active = models_in_service.active_model()
            if analysis.fingerprint == (active.fingerprint if active else None):
                return _store_sample(customer_id, audio, analysis, actor)
    raise ModelSwitched(retry_after_seconds=1)


@transaction.atomic
def remove_sample(*, customer_id: str, sample_id: uuid.UUID, actor: Actor) -> Customer:
    """Takes a polluted recording out again: state and voiceprints follow from what is left.

    Raises ``CustomerNotFound`` and ``SampleNotFound``.
    """
    voiceprints.lock_gallery(shared=True)
    customer = _locked(customer_id)
    sample = customer.samples.filter(pk=sample_id).first()
    if sample is None:
        raise SampleNotFound
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    sample.delete()
    _refresh_state(customer, renew=False)
    for fingerprint in list(customer.voiceprints.values_list("model_fingerprint", flat=True)):
        voiceprints.refresh_voiceprint(customer, fingerprint)
    _forget_exports(customer)
    record(
        action="enrollment.sample_removed",
        actor=actor,
        customer_id=customer_id,
        target=f"sample:{sample_id}",
        before=before,
        after={"state": customer.state, "speech_seconds": customer.speech_seconds},
    )
    return customer


@dataclass(frozen=True)
class _Analysis:
    report: gate.QualityReport
    embedding: np.ndarray | None  # (d,) float32; None where no model is in service
    fingerprint: str | None  # of the model that made the embedding
    model_version: str


def _analyse(audio: bytes) -> _Analysis:
    answer = scoring_client.call(
        "mltraining.analyse_audio",
        {"audio": base64.b64encode(audio).decode()},
        deadline_seconds=settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS,
    )
    report = gate.QualityReport(**answer["quality"])
    model = answer["model"]
    if model is None:
        return _Analysis(report, None, None, "")
    embedding = np.frombuffer(base64.b64decode(answer["embedding"]), dtype="<f4")
    return _Analysis(report, embedding, model["fingerprint"], model["version"])


def _store_sample(customer_id: str, audio: bytes, analysis: _Analysis, actor: Actor) -> AudioSample:
    customer = _locked(customer_id)
    _require_enrollable(customer)
    digest = keys.audio_hash(customer, audio)
    if customer.samples.filter(sha256=digest).exists():
        raise DuplicateSample
    before = {"state": customer.state, "speech_seconds": customer.speech_seconds}
    sample = AudioSample.objects.create(
        customer=customer,
        created_by=actor.name,
        sha256=digest,
        byte_count=len(audio),
        **analysis.report.as_dict(),
    )
    SealedAudio.objects.create(sample=sample, content=keys.seal_audio(customer, sample.pk, audio))
    if analysis.embedding is not None and analysis.fingerprint is not None:
        voiceprints.store_embedding(sample, analysis.fingerprint, analysis.embedding)
        voiceprints.refresh_voiceprint(customer, analysis.fingerprint)
    _refresh_state(customer, renew=True)
    record(
        action="enrollment.accepted",
        actor=actor,
        customer_id=customer_id,
        target=f"sample:{sample.pk}",
        model_version=analysis.model_version,
        before=before,
        after={"state": customer.state, "speech_seconds": customer.speech_seconds},
        data={"report": analysis.report.as_dict()},
    )
    return sample


def _refresh_state(customer: Customer, *, renew: bool) -> None:
    """Net speech and state from the samples there are. ``renew``: a new recording ends EXPIRED."""
    customer.speech_seconds = customer.samples.aggregate(total=models.Sum("speech_seconds"))["total"] or 0.0
    if renew:
        customer.last_accessed_at = timezone.now()
    if renew or customer.state in (State.ENROLLING, State.ENROLLED):
        if selectors.remaining_seconds(customer) == 0:
            customer.enrolled_at = customer.enrolled_at or timezone.now()
            customer.state = State.ENROLLED
        else:
            customer.enrolled_at = None
            customer.state = State.ENROLLING if customer.speech_seconds else State.PENDING
    customer.save(update_fields=["speech_seconds", "last_accessed_at", "enrolled_at", "state"])


def _require_enrollable(customer: Customer) -> None:
    if customer.state == State.OPTED_OUT:
        raise OptedOut
    if not selectors.has_consent(customer):
        raise ConsentRequired
    if customer.state == State.LOCKED:
        raise CustomerLocked


def _locked(customer_id: str) -> Customer:
    customer = Customer.objects.select_for_update().filter(customer_id=customer_id).first()
    if customer is None:
        raise CustomerNotFound
    return customer


def _erase_voice(customer: Customer) -> ErasureReceipt:
    """Erases whatever hangs on the customer but the consents, call recordings of the layer above included."""
    erased: dict[str, int] = {}
    for relation in Customer._meta.related_objects:
        if relation.related_model is not Consent:
            _, counts = relation.related_model._base_manager.filter(**{relation.field.name: customer}).delete()
            erased |= counts
    _forget_exports(customer)
    return ErasureReceipt(
        receipt_id=uuid.uuid4(),
        customer_id=customer.customer_id,
        samples=erased.get("enrollment.AudioSample", 0),
        voiceprints=erased.get("enrollment.Voiceprint", 0),
        call_recordings=erased.get("verification.CallAudio", 0),
        erased_at=timezone.now(),
    )


def _forget_exports(customer: Customer) -> None:
    """Once committed: what a running retrain has exported of the customer goes too."""
    pk = customer.pk
    transaction.on_commit(lambda: retraining.forget_customer(pk))


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
