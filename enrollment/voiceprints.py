"""Embeddings and voiceprints of customers, always under one named model.

Every function takes the model's fingerprint, so that vectors of two models never meet. The services that call them hold
the customer's row lock, and write voiceprints before their audit event, because the trail's lock comes last everywhere.
"""

from typing import NamedTuple

import numpy as np
from django.db import connection

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
    """Store the mean of the customer's sample embeddings under one model, weighted by their net speech.

    Recordings that are pending approval do not count. Without any embedding the voiceprint is deleted, and ``None``
    is returned.
    """
    embeddings = list(
        SampleEmbedding.objects.filter(
            sample__customer=customer, sample__held_for=[], model_fingerprint=model_fingerprint
        )
        .select_related("sample")
        .order_by("sample__created_at", "sample_id")
    )
    if not embeddings:
        Voiceprint.objects.filter(customer=customer, model_fingerprint=model_fingerprint).delete()
        return None
    vectors = [keys.unseal_embedding(customer, row.sample_id, model_fingerprint, row.content) for row in embeddings]
    weights = np.array([row.sample.speech_seconds for row in embeddings], dtype=np.float32)
    mean = mean_voiceprint(np.stack(vectors), weights)
    voiceprint, _ = Voiceprint.objects.update_or_create(
        customer=customer,
        model_fingerprint=model_fingerprint,
        defaults={
            "content": keys.seal_voiceprint(customer, model_fingerprint, mean),
            "sample_count": len(embeddings),
            "speech_seconds": float(weights.sum()),
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


def _next_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('enrollment_voiceprint_revision')")
        return int(cursor.fetchone()[0])
