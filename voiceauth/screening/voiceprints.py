"""Voices that screening compares with, always under one named model: fraudsters' voiceprints and recent calls."""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from django.db import IntegrityError, connection, transaction

from mltraining import scorer
from mltraining.errors import InvalidAudio
from mltraining.gallery import Entry
from voiceauth.platform import storage as audio_store
from voiceauth.screening import keys
from voiceauth.screening.models import Fraudster, FraudsterVoiceprint, RecentVoice

if TYPE_CHECKING:
    from mltraining.scorer import LoadedModel

logger = logging.getLogger(__name__)


def store(fraudster: Fraudster, fingerprint: str, vector: np.ndarray) -> None:
    """Keeps the fraudster's voiceprint ``(d,)`` under one model; one that exists is replaced."""
    FraudsterVoiceprint.objects.update_or_create(
        fraudster=fraudster,
        model_fingerprint=fingerprint,
        defaults={"content": keys.seal_voiceprint(fraudster, fingerprint, vector), "revision": _next_revision()},
    )


def store_recent(*, customer_id: str, fingerprint: str, vector: np.ndarray, speech_seconds: float) -> None:
    """Keeps what a call that claimed ``customer_id`` sounded like: its embedding ``(d,)``."""
    voice = RecentVoice(
        customer_id=customer_id,
        model_fingerprint=fingerprint,
        speech_seconds=speech_seconds,
        revision=_next_revision(),
    )
    keys.seal_recent(voice, vector)
    voice.save(force_insert=True)


def fraudster_entries(
    fingerprint: str, *, after: int | None = None, owners: Collection[UUID] | None = None
) -> Iterable[Entry]:
    """Fraudsters' voiceprints under one model: newer than the revision ``after``, or of ``owners``."""
    rows = FraudsterVoiceprint.objects.filter(model_fingerprint=fingerprint).select_related("fraudster")
    if after is not None:
        rows = rows.filter(revision__gt=after)
    if owners is not None:
        rows = rows.filter(fraudster__in=list(owners))
    for row in rows.iterator(chunk_size=1000):
        vector = keys.unseal_voiceprint(row.fraudster, fingerprint, row.content)
        yield Entry(row.fraudster_id, str(row.fraudster_id), row.revision, vector, row.fraudster.speech_seconds)


def recent_entries(
    fingerprint: str, *, after: int | None = None, owners: Collection[UUID] | None = None
) -> Iterable[Entry]:
    """Recent calls under one model, named by the customer whom they claimed."""
    rows = RecentVoice.objects.filter(model_fingerprint=fingerprint)
    if after is not None:
        rows = rows.filter(revision__gt=after)
    if owners is not None:
        rows = rows.filter(pk__in=list(owners))
    for row in rows.iterator(chunk_size=1000):
        yield Entry(row.pk, row.customer_id, row.revision, keys.unseal_recent(row), row.speech_seconds)


def reembed(model: "LoadedModel", progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """A voiceprint under ``model`` for every fraudster who has none, for a promotion: in the training worker.

    A recording that can no longer be decoded is logged and left out. ``progress(done, total)`` may raise to stop.
    """
    todo = list(
        Fraudster.objects.exclude(voiceprints__model_fingerprint=model.fingerprint).values_list("pk", flat=True)
    )
    for done, pk in enumerate(todo):
        progress(done, len(todo))
        fraudster = Fraudster.objects.select_related("audio").filter(pk=pk).first()
        if fraudster is None:
            continue  # erased meanwhile
        try:
            vector = scorer.embed(keys.unseal_audio(fraudster, audio_store.read(fraudster.audio.content)), model)
            with transaction.atomic():
                store(fraudster, model.fingerprint, vector)
        except IntegrityError:
            pass  # erased meanwhile
        except InvalidAudio as error:
            logger.error("fraudster %s cannot be embedded under %s: %s", pk, model.version, error.code)


def keep_only(fingerprints: Collection[str]) -> None:
    """Deletes what was made under other models than these."""
    FraudsterVoiceprint.objects.exclude(model_fingerprint__in=fingerprints).delete()
    RecentVoice.objects.exclude(model_fingerprint__in=fingerprints).delete()


def _next_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('screening_revision')")
        return int(cursor.fetchone()[0])
