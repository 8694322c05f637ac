"""Embeddings and voiceprints of customers, always under one named model.

Every function takes the model's fingerprint, so that vectors of two models never meet. Services that
write here run in a transaction; they write voiceprints *before* their audit event (the trail's lock comes
last, everywhere), and hold the customer's row lock.
"""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import connection

from enrollment import keys
from enrollment.models import AudioSample, Customer, SampleEmbedding, Voiceprint
from mltraining.gallery import GalleryState
from mltraining.gallery import lock_gallery as lock_gallery
from mltraining.speech.scoring import scores as scoring


class KnownVoice(NamedTuple):
    """A customer's voiceprint under one model: unit vector (d,) float32, and the net speech that it is the mean of."""

    vector: np.ndarray
    speech_seconds: float


GalleryRows = Iterable[tuple[Customer, int, KnownVoice]]  # with the revision


def store_embedding(sample: AudioSample, fingerprint: str, vector: np.ndarray) -> None:
    """Keeps the embedding ``(d,)`` of ``sample`` under one model; one that exists is replaced."""
    content = keys.seal_embedding(sample.customer, sample.pk, fingerprint, vector)
    SampleEmbedding.objects.update_or_create(
        sample=sample, model_fingerprint=fingerprint, defaults={"content": content}
    )


def refresh_voiceprint(customer: Customer, fingerprint: str) -> Voiceprint | None:
    """Writes the mean of the customer's sample embeddings under one model, weighed by their net speech.

    Recordings that wait for a person do not count. Without any embedding the voiceprint is deleted, and the answer is
    ``None``.
    """
    embeddings = list(
        SampleEmbedding.objects.filter(sample__customer=customer, sample__held_for=[], model_fingerprint=fingerprint)
        .select_related("sample")
        .order_by("sample__created_at", "sample_id")
    )
    if not embeddings:
        Voiceprint.objects.filter(customer=customer, model_fingerprint=fingerprint).delete()
        return None
    vectors = [keys.unseal_embedding(customer, row.sample_id, fingerprint, row.content) for row in embeddings]
    weights = np.array([row.sample.speech_seconds for row in embeddings], dtype=np.float32)
    mean = scoring.mean_voiceprint(np.stack(vectors), weights)
    voiceprint, _ = Voiceprint.objects.update_or_create(
        customer=customer,
        model_fingerprint=fingerprint,
        defaults={
            "content": keys.seal_voiceprint(customer, fingerprint, mean),
            "sample_count": len(embeddings),
            "speech_seconds": float(weights.sum()),
            "revision": _next_revision(),
        },
    )
    return voiceprint


def voiceprint_of(customer: Customer, fingerprint: str) -> KnownVoice | None:
    """The customer's voiceprint under one model, or ``None``."""
    row = Voiceprint.objects.filter(customer=customer, model_fingerprint=fingerprint).first()
    return KnownVoice(keys.unseal_voiceprint(customer, fingerprint, row.content), row.speech_seconds) if row else None


def gallery_state(fingerprint: str) -> GalleryState:
    """The state of the enrolled customers' voiceprints under one model."""
    return GalleryState.of(_gallery(fingerprint))


def gallery_revisions(fingerprint: str) -> dict[UUID, int]:
    """The revision of every enrolled customer's voiceprint under one model."""
    return dict(_gallery(fingerprint).values_list("customer_id", "revision"))


def gallery_rows(fingerprint: str, *, after: int | None = None, customers: Iterable[UUID] | None = None) -> GalleryRows:
    """Enrolled customers with the revision of their voiceprint under one model, and the voiceprint.

    Only those newer than the revision ``after``, or of the ``customers`` named.
    """
    rows = _gallery(fingerprint).select_related("customer")
    if after is not None:
        rows = rows.filter(revision__gt=after)
    if customers is not None:
        rows = rows.filter(customer__in=list(customers))
    for row in rows.iterator(chunk_size=1000):
        vector = keys.unseal_voiceprint(row.customer, fingerprint, row.content)
        yield row.customer, row.revision, KnownVoice(vector, row.speech_seconds)


def _gallery(fingerprint: str):  # a QuerySet, whose generics mypy infers
    return Voiceprint.objects.filter(model_fingerprint=fingerprint, customer__state=Customer.State.ENROLLED)


def _next_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('enrollment_voiceprint_revision')")
        return int(cursor.fetchone()[0])
