"""Services on a customer's recordings: enroll one, approve one that is held, remove one.

Locks are taken in one order everywhere: the gallery's lock, shared, where voiceprints are written; then the customer's
row; the audit trail last.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from enrollment import gate, heard, keys, lifecycle, selectors, voiceprints
from enrollment.errors import (
    ConsentRequired,
    CustomerLocked,
    DuplicateSample,
    OptedOut,
    ReviewRequired,
    SampleNotFound,
    SampleNotHeld,
)
from enrollment.messages import ANALYSE_SAMPLE, AnalyseSample, SampleAnalysis
from enrollment.models import AudioSample, Customer, SealedAudio
from enrollment.services import locked, state_of_speech
from mltraining import selectors as models_in_service
from mltraining import worker_client
from mltraining.errors import ModelSwitched
from mltraining.locks import lock_gallery
from mltraining.messages import Recording
from voiceauth.platform import storage
from voiceauth.platform.api.roles import CAPABILITIES
from voiceauth.platform.approvals.services import require_second_person
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure import services as erasures
from voiceauth.policies import selectors as policies
from voiceauth.policies.document import DEFAULT_ORIGIN
from voiceauth.screening import services as screening
from voiceauth.screening.messages import Screening
from voiceauth.screening.risk import Hit

State = Customer.State
SAMPLE_REMOVED = "enrollment.sample_removed"
Intervals = Sequence[Sequence[float]]  # [start, end] in seconds of the upload


def enroll_sample(
    *,
    customer_id: str,
    audio: bytes,
    origin: str = DEFAULT_ORIGIN,
    channel: str = "",
    format: str = "",
    redact: Intervals = (),
    actor: Actor,
) -> AudioSample:
    """Add a recording to the customer's enrollment: ask a scoring worker, pass the gate, store.

    The policy's limits for ``origin`` apply. Where the recording's channels differ, only ``channel`` is scored and
    stored, or the policy's default for the client. What ``redact`` names is neither stored nor scored.

    Nothing of a refused recording is stored. One that is held for a second person (``held_for``) is stored and does
    not count. Raises, in this order: ``CustomerNotFound``; ``OptedOut``, ``ConsentRequired``, ``CustomerLocked``;
    ``DuplicateSample``; what is wrong with the recording (``InvalidAudio``); ``ScoringUnavailable``; ``SampleRefused``
    by the gate.
    """
    customer = selectors.customer(customer_id)
    _require_enrollable(customer)
    _require_new(customer, audio)
    policy = policies.in_force()
    recording = Recording(
        audio=audio,
        redact=tuple((start, end) for start, end in redact),
        channel=channel,
        format=format,
        default_channel=policy.channel_of(actor.name),
    )
    for _ in range(2):  # retry once: the model in service may have been replaced while we were scoring
        analysis = worker_client.call(
            ANALYSE_SAMPLE,
            AnalyseSample(customer=customer.pk, recording=recording),
            deadline_seconds=settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS,
        )
        held_for = gate.check(analysis.quality, analysis.voice, policy.enrollment(origin))
        with transaction.atomic():
            lock_gallery(shared=True)
            active = models_in_service.active_model()
            heard_by = analysis.embedding.model_fingerprint if analysis.embedding else None
            if heard_by == (active.fingerprint if active else None):
                marks = {"origin": origin, "policy": policy.number, "held_for": held_for, "redacted": list(redact)}
                suspicions = gate.suspicions(analysis.voice, policy.enrollment(origin))
                return _store_sample(customer_id, audio, analysis, marks, suspicions, actor)
    raise ModelSwitched(retry_after_seconds=1)


@transaction.atomic
def approve_sample(*, customer_id: str, sample_id: uuid.UUID, actor: Actor) -> AudioSample:
    """Let a held recording count from now on.

    Raises ``CustomerNotFound``; ``OptedOut``, ``ConsentRequired``, ``CustomerLocked``; ``SampleNotFound``;
    ``SampleNotHeld``; ``SecondPersonRequired`` for the person who sent it; ``ReviewRequired`` for a suspicious one,
    unless the actor may read review cases.
    """
    lock_gallery(shared=True)
    customer = locked(customer_id)
    _require_enrollable(customer)
    sample = _sample(customer, sample_id)
    if not sample.held_for:
        raise SampleNotHeld
    require_second_person(sample.created_by, actor)
    if gate.REVIEW in sample.held_for and actor.role not in CAPABILITIES["cases:read"]:
        raise ReviewRequired
    before = _figures(customer) | {"held_for": sample.held_for}
    sample.held_for, sample.approved_by = [], actor.name
    sample.save(update_fields=["held_for", "approved_by"])
    _refresh(customer, sample.embeddings.values_list("model_fingerprint", flat=True), renew=True)
    record(
        action="enrollment.approved",
        actor=actor,
        customer_id=customer_id,
        target=f"sample:{sample.pk}",
        before=before,
        after=_figures(customer),
    )
    return sample


@transaction.atomic
def remove_sample(*, customer_id: str, sample_id: uuid.UUID, only_held: bool = False, actor: Actor) -> Customer:
    """Remove a recording from the enrollment. State and voiceprints follow from those that are left.

    Its file and the copies of a training run are erased by a job that follows. Raises ``CustomerNotFound`` and
    ``SampleNotFound``; with ``only_held`` also ``SampleNotHeld``, for a recording that counts.
    """
    lock_gallery(shared=True)
    customer = locked(customer_id)
    sample = _sample(customer, sample_id)
    if only_held and not sample.held_for:
        raise SampleNotHeld
    before = _figures(customer)
    with storage.collecting() as recordings:
        sample.delete()
    _refresh(customer, customer.voiceprints.values_list("model_fingerprint", flat=True), renew=False)
    erasures.begin(
        cause=SAMPLE_REMOVED,
        subject=customer.pk,
        customer_id=customer_id,
        recordings=recordings,
        counts={"samples": 1},
        actor=actor,
    )
    record(
        action=SAMPLE_REMOVED,
        actor=actor,
        customer_id=customer_id,
        target=f"sample:{sample_id}",
        before=before,
        after=_figures(customer),
    )
    return customer


def _store_sample(
    customer_id: str,
    audio: bytes,
    analysis: SampleAnalysis,
    marks: dict[str, Any],
    suspicions: list[Hit],
    actor: Actor,
) -> AudioSample:
    customer = locked(customer_id)
    _require_enrollable(customer)
    digest = _require_new(customer, audio)
    recording = audio if analysis.remainder is None else analysis.remainder
    before = _figures(customer)
    sample = AudioSample.objects.create(
        customer=customer,
        created_by=actor.name,
        request_id=actor.request_id,
        sha256=digest,
        byte_count=len(recording),
        **analysis.quality.as_dict(),
        **marks,
    )
    SealedAudio.objects.create(sample=sample, content=keys.seal_audio(customer, sample.pk, recording))
    heard.remember(customer, sample=sample, acoustic_fingerprint=analysis.acoustic_fingerprint)
    embedding = analysis.embedding
    if embedding is not None:
        voiceprints.store_embedding(sample, embedding.model_fingerprint, embedding.vector)
    if not sample.held_for:
        _refresh(customer, [] if embedding is None else [embedding.model_fingerprint], renew=True)
    screening.act_on(
        Screening(hits=tuple(suspicions)),
        customer_id=customer_id,
        evidence={"sample_id": str(sample.pk)},
        enrolling=True,
        actor=actor,
    )
    record(
        action="enrollment.held" if sample.held_for else "enrollment.accepted",
        actor=actor,
        customer_id=customer_id,
        target=f"sample:{sample.pk}",
        model_version="" if embedding is None else embedding.model_version,
        before=before,
        after=_figures(customer),
        data={"report": analysis.quality.as_dict(), **marks},
    )
    return sample


def _refresh(
    customer: Customer, model_fingerprints: "Sequence[str] | models.QuerySet[Any, str]", *, renew: bool
) -> None:
    """Derive net speech, state and voiceprints from the recordings that count. ``renew``: a new one was added."""
    counting = customer.samples.filter(held_for=[])
    customer.speech_seconds = counting.aggregate(total=models.Sum("speech_seconds"))["total"] or 0.0
    changes: dict[str, Any] = {"speech_seconds": customer.speech_seconds}
    state = customer.state
    if renew:
        changes["last_accessed_at"] = timezone.now()
    if renew or state in (State.ENROLLING, State.ENROLLED):
        state = state_of_speech(customer)
        changes["enrolled_at"] = (customer.enrolled_at or timezone.now()) if state == State.ENROLLED else None
    lifecycle.move(customer, state, **changes)
    for model_fingerprint in list(model_fingerprints):
        voiceprints.refresh_voiceprint(customer, model_fingerprint)


def _figures(customer: Customer) -> dict[str, Any]:
    return {"state": customer.state, "speech_seconds": customer.speech_seconds}


def _sample(customer: Customer, sample_id: uuid.UUID) -> AudioSample:
    sample = customer.samples.filter(pk=sample_id).first()
    if sample is None:
        raise SampleNotFound
    return sample


def _require_new(customer: Customer, audio: bytes) -> str:
    """Return the recording's keyed hash. Raises ``DuplicateSample``."""
    digest = keys.audio_hash(customer, audio)
    if customer.samples.filter(sha256=digest).exists():
        raise DuplicateSample
    return digest


def _require_enrollable(customer: Customer) -> None:
    if customer.state == State.OPTED_OUT:
        raise OptedOut
    if not selectors.has_consent(customer):
        raise ConsentRequired
    if customer.state == State.LOCKED:
        raise CustomerLocked
