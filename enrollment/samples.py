"""Services on a customer's recordings: enroll one, approve one that is held, remove one.

Locks are taken in one order everywhere: the gallery's lock, shared, where voiceprints are written; then the customer's
row; the audit trail last.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from enrollment import gate, heard, keys, lifecycle, selectors, voiceprints
from enrollment.errors import (
    AlreadyConfirmed,
    ConsentRequired,
    CustomerLocked,
    DuplicateSample,
    OptedOut,
    ReviewRequired,
    SampleNotFound,
    SampleNotHeld,
)
from enrollment.messages import ANALYSE_SAMPLE, AnalyseSample, SampleAnalysis
from enrollment.models import AudioSample, ConfirmedCall, Customer, SealedAudio
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
    recording = Recording(
        audio=audio,
        redact=tuple((start, end) for start, end in redact),
        channel=channel,
        format=format,
        default_channel=policies.in_force().channel_of(actor.name),
    )
    return add(customer_id=customer_id, recording=recording, origin=origin, actor=actor)


def add(
    *, customer_id: str, recording: Recording, origin: str, call: ConfirmedCall | None = None, actor: Actor
) -> AudioSample:
    """Add a recording: what ``enroll_sample`` describes, and for a confirmed ``call`` what ``enrichment`` describes.

    ``call`` names its decision and its method. Raises as ``enroll_sample`` does, and ``AlreadyConfirmed``.
    """
    customer = selectors.customer(customer_id)
    _require_enrollable(customer)
    _require_new(customer, recording.audio)
    policy = policies.in_force()
    limits = policy.enrollment(origin)
    for _ in range(2):  # retry once: the model in service may have been replaced while we were scoring
        analysis = worker_client.call(
            ANALYSE_SAMPLE,
            AnalyseSample(
                customer=customer.pk, recording=recording, decision=None if call is None else call.decision_id
            ),
            deadline_seconds=settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS,
        )
        if call is None:
            held_for = gate.check(analysis.quality, analysis.voice, limits)
        else:
            held_for = gate.check_call(analysis.quality, analysis.voice, limits, policy.enrichment.min_llr)
        with transaction.atomic():
            lock_gallery(shared=True)
            active = models_in_service.active_model()
            heard_by = analysis.embedding.model_fingerprint if analysis.embedding else None
            if heard_by == (active.fingerprint if active else None):
                marks = {
                    "origin": origin,
                    "policy": policy.number,
                    "held_for": held_for,
                    "redacted": [list(each) for each in recording.redact],
                }
                suspicions = gate.suspicions(analysis.voice, limits)
                return _store_sample(customer_id, recording.audio, analysis, marks, suspicions, call, actor)
    raise ModelSwitched(retry_after_seconds=1)


@transaction.atomic
def approve_sample(*, customer_id: str, sample_id: uuid.UUID, actor: Actor) -> AudioSample:
    """Let a held recording count from now on.

    Raises ``CustomerNotFound``; ``OptedOut``, ``ConsentRequired``, ``CustomerLocked``; ``SampleNotFound``;
    ``SampleNotHeld``; ``SecondPersonRequired`` for the person who sent it; ``ReviewRequired`` for one that is
    suspicious or whose voice is not sure, unless the actor may read review cases.
    """
    lock_gallery(shared=True)
    customer = locked(customer_id)
    _require_enrollable(customer)
    sample = _sample(customer, sample_id)
    if not sample.held_for:
        raise SampleNotHeld
    require_second_person(sample.created_by, actor)
    if {gate.REVIEW, gate.COHESION} & set(sample.held_for) and actor.role not in CAPABILITIES["cases:read"]:
        raise ReviewRequired
    before = _figures(customer) | {"held_for": sample.held_for}
    sample.held_for, sample.approved_by = [], actor.name
    sample.save(update_fields=["held_for", "approved_by"])
    removed = _remove(customer, selectors.excess_calls(customer, policies.in_force().enrichment))
    _refresh(customer, sample.embeddings.values_list("model_fingerprint", flat=True), renew=True)
    _record_removed(customer, removed, before, actor)
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

    Confirmed calls go with the last recording that they were compared with. The files, and the copies of a training
    run, are erased by a job that follows. Raises ``CustomerNotFound`` and
    ``SampleNotFound``; with ``only_held`` also ``SampleNotHeld``, for a recording that counts.
    """
    lock_gallery(shared=True)
    customer = locked(customer_id)
    sample = _sample(customer, sample_id)
    if only_held and not sample.held_for:
        raise SampleNotHeld
    remove(customer, [sample], actor=actor)
    return customer


def remove(customer: Customer, samples: Sequence[AudioSample], *, actor: Actor) -> None:
    """Do what ``remove_sample`` does, to some recordings of a locked customer; the caller holds the gallery's lock."""
    before = _figures(customer)
    removed = _remove(customer, samples)
    _refresh(customer, customer.voiceprints.values_list("model_fingerprint", flat=True), renew=False)
    _record_removed(customer, removed, before, actor)


class _Removed(NamedTuple):
    """What was removed: the decision of each recording, ``None`` for an enrolled one, and the names of the files."""

    decisions: dict[uuid.UUID, uuid.UUID | None]
    recordings: list[str]


def _remove(customer: Customer, samples: Sequence[AudioSample]) -> _Removed:
    decisions: dict[uuid.UUID, uuid.UUID | None] = {}
    with storage.collecting() as recordings:
        _delete(samples, decisions)
        if not _enrolled(customer).exists():
            _delete(customer.samples.filter(confirmation__isnull=False), decisions)
    return _Removed(decisions, recordings)


def _delete(samples: Iterable[AudioSample], decisions: dict[uuid.UUID, uuid.UUID | None]) -> None:
    for sample in samples:
        decisions[sample.pk] = sample.confirmation.decision_id if hasattr(sample, "confirmation") else None
        sample.delete()


def _record_removed(customer: Customer, removed: _Removed, before: dict[str, Any], actor: Actor) -> None:
    """Begin the erasure of the files, and record each recording that was removed, if any."""
    if not removed.decisions:
        return
    erasures.begin(
        cause=SAMPLE_REMOVED,
        subject=customer.pk,
        customer_id=customer.customer_id,
        recordings=removed.recordings,
        counts={"samples": len(removed.decisions)},
        actor=actor,
    )
    for sample_id, decision_id in removed.decisions.items():
        record(
            action=SAMPLE_REMOVED,
            actor=actor,
            customer_id=customer.customer_id,
            target=f"sample:{sample_id}",
            before=before,
            after=_figures(customer),
            data={} if decision_id is None else {"decision_id": str(decision_id)},
        )


def _enrolled(customer: Customer) -> models.QuerySet[AudioSample]:
    """Select the enrolled recordings that count, without confirmed calls."""
    return customer.samples.filter(held_for=[], confirmation__isnull=True)


def _store_sample(
    customer_id: str,
    audio: bytes,
    analysis: SampleAnalysis,
    marks: dict[str, Any],
    suspicions: list[Hit],
    call: ConfirmedCall | None,
    actor: Actor,
) -> AudioSample:
    customer = locked(customer_id)
    _require_enrollable(customer)
    if call is not None and ConfirmedCall.objects.filter(pk=call.pk).exists():
        raise AlreadyConfirmed
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
    removed = _Removed({}, [])
    if call is not None:
        call.customer, call.sample = customer, sample
        call.save(force_insert=True)
        if not sample.held_for:
            removed = _remove(customer, selectors.excess_calls(customer, policies.in_force().enrichment))
    if not sample.held_for:
        _refresh(customer, [] if embedding is None else [embedding.model_fingerprint], renew=True)
    screening.act_on(
        Screening(hits=tuple(suspicions)),
        customer_id=customer_id,
        evidence={"sample_id": str(sample.pk)},
        enrolling=True,
        actor=actor,
    )
    _record_removed(customer, removed, before, actor)
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
    if call is not None:
        data = {"method": call.method, "sample_id": str(sample.pk), "llr": analysis.voice.cohesion_llr, **marks}
        record(
            action="decision.confirmed",
            actor=actor,
            customer_id=customer_id,
            target=f"decision:{call.pk}",
            data={"outcome": "HELD" if sample.held_for else "ADDED", **data},
        )
    return sample


def _refresh(
    customer: Customer, model_fingerprints: "Sequence[str] | models.QuerySet[Any, str]", *, renew: bool
) -> None:
    """Derive net speech, state and voiceprints from the recordings that count. ``renew``: a new one was added.

    Confirmed calls are in the voiceprint alone: they make nobody ENROLLED.
    """
    customer.speech_seconds = _enrolled(customer).aggregate(total=models.Sum("speech_seconds"))["total"] or 0.0
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
