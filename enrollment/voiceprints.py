"""Embeddings and voiceprints of customers, always under one named model.

Every function takes the model's fingerprint, so that vectors of two models never meet. The services that call them hold
the customer's row lock, and write voiceprints before their audit event, because the trail's lock comes last everywhere.
"""

from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import F, FilteredRelation, Q

from enrollment import keys
from enrollment.models import AudioSample, Customer, SampleEmbedding, Voiceprint
from mltraining.vectors import mean_voiceprint


class KnownVoice(NamedTuple):
    """A customer's voiceprint under one model: unit vector (d,) float32, and the net speech that it is the mean of."""

    vector: np.ndarray
    speech_seconds: float


def store_embedding(sample: AudioSample, model_fingerprint: str, vector: np.ndarray) -> None:
    """Store the embedding ``(d,)`` of ``sample`` under one model, in place of an earlier one."""
    content = keys.seal_embedding(sample.customer, sample.pk, model_fingerprint, vector)
    SampleEmbedding.objects.update_or_create(
        sample=sample, model_fingerprint=model_fingerprint, defaults={"content": content}
    )


def refresh_voiceprint(customer: Customer, model_fingerprint: str) -> Voiceprint | None:
    """Store the mean of the customer's sample embeddings under one model, weighted by ``weights``.

    Recordings that are pending approval do not count. Without the embedding of an enrolled recording the voiceprint is
    deleted, and ``None`` is returned.
    """
    embedded = _embedded(customer, model_fingerprint)
    if embedded.is_call.all():
        Voiceprint.objects.filter(customer=customer, model_fingerprint=model_fingerprint).delete()
        return None
    mean = mean_voiceprint(embedded.vectors, weights(embedded.seconds, embedded.is_call))
    voiceprint, _ = Voiceprint.objects.update_or_create(
        customer=customer,
        model_fingerprint=model_fingerprint,
        defaults={
            "content": keys.seal_voiceprint(customer, model_fingerprint, mean),
            "sample_count": len(embedded.seconds),
            "speech_seconds": float(embedded.seconds.sum()),
            "revision": _next_revision(),
        },
    )
    return voiceprint


def voiceprint_of(customer: Customer, model_fingerprint: str) -> KnownVoice | None:
    """Return the customer's voiceprint under one model, or ``None``."""
    row = Voiceprint.objects.filter(customer=customer, model_fingerprint=model_fingerprint).first()
    return (
        KnownVoice(keys.unseal_voiceprint(customer, model_fingerprint, row.content), row.speech_seconds)
        if row
        else None
    )


def claimed(customer_pk: UUID, model_fingerprint: str) -> tuple[Customer | None, KnownVoice | None]:
    """Return a customer, and the voiceprint under one model, as they are now: in one query, because a caller waits."""
    under = FilteredRelation("voiceprints", condition=Q(voiceprints__model_fingerprint=model_fingerprint))
    found = Customer.objects.annotate(
        under=under, voiceprint=F("under__content"), voiceprint_seconds=F("under__speech_seconds")
    )
    customer = found.filter(pk=customer_pk).first()
    if customer is None or customer.voiceprint is None:
        return customer, None
    vector = keys.unseal_voiceprint(customer, model_fingerprint, customer.voiceprint)
    return customer, KnownVoice(vector, customer.voiceprint_seconds)


def enrolled_voice_of(customer: Customer, model_fingerprint: str) -> KnownVoice | None:
    """Return the mean of the enrolled recordings alone, or ``None``.

    A further recording is compared with it. Were it compared with the whole voiceprint, one call after the other could
    move the voiceprint to another voice.
    """
    embedded = _embedded(customer, model_fingerprint)
    enrolled = ~embedded.is_call
    if not enrolled.any():
        return None
    seconds = embedded.seconds[enrolled]
    return KnownVoice(mean_voiceprint(embedded.vectors[enrolled], seconds), float(seconds.sum()))


def weights(seconds: np.ndarray, is_call: np.ndarray) -> np.ndarray:
    """Return the weights (n,) of a voiceprint's recordings: their net speech ``seconds`` (n,).

    Those of confirmed calls, ``is_call`` (n,) bool, are scaled down where together they would weigh more than the
    enrolled recordings, which so keep at least half of the voiceprint.
    """
    enrolled, calls = seconds[~is_call].sum(), seconds[is_call].sum()
    return np.where(is_call, seconds * (enrolled / calls), seconds) if calls > enrolled else seconds


class _Embedded(NamedTuple):
    """A customer's recordings that count: embeddings (n, d), net speech (n,), and which are confirmed calls."""

    vectors: np.ndarray
    seconds: np.ndarray
    is_call: np.ndarray


def _embedded(customer: Customer, model_fingerprint: str) -> _Embedded:
    rows = list(
        SampleEmbedding.objects.filter(
            sample__customer=customer, sample__held_for=[], model_fingerprint=model_fingerprint
        )
        .select_related("sample__confirmation")
        .order_by("sample__created_at", "sample_id")
    )
    vectors = [keys.unseal_embedding(customer, row.sample_id, model_fingerprint, row.content) for row in rows]
    return _Embedded(
        vectors=np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32),
        seconds=np.array([row.sample.speech_seconds for row in rows], dtype=np.float32),
        is_call=np.array([hasattr(row.sample, "confirmation") for row in rows], dtype=bool),
    )


def _next_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('enrollment_voiceprint_revision')")
        return int(cursor.fetchone()[0])
