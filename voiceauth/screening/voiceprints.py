"""Voices that screening compares with, always under one named model: fraudsters' voiceprints and recent calls."""

from collections.abc import Collection

import numpy as np
from django.db import connection

from voiceauth.screening import keys
from voiceauth.screening.models import Fraudster, FraudsterVoiceprint, RecentVoice


def store(fraudster: Fraudster, model_fingerprint: str, vector: np.ndarray) -> None:
    """Store the fraudster's voiceprint ``(d,)`` under one model; one that exists is replaced."""
    FraudsterVoiceprint.objects.update_or_create(
        fraudster=fraudster,
        model_fingerprint=model_fingerprint,
        defaults={"content": keys.seal_voiceprint(fraudster, model_fingerprint, vector), "revision": _next_revision()},
    )


def store_recent(*, customer_id: str, model_fingerprint: str, vector: np.ndarray, speech_seconds: float) -> None:
    """Store what a call that claimed ``customer_id`` sounded like: its embedding ``(d,)``."""
    voice = RecentVoice(
        customer_id=customer_id,
        model_fingerprint=model_fingerprint,
        speech_seconds=speech_seconds,
        revision=_next_revision(),
    )
    keys.seal_recent(voice, vector)
    voice.save(force_insert=True)


def keep_only(model_fingerprints: Collection[str]) -> None:
    """Delete what was made under other models than these."""
    FraudsterVoiceprint.objects.exclude(model_fingerprint__in=model_fingerprints).delete()
    RecentVoice.objects.exclude(model_fingerprint__in=model_fingerprints).delete()


def _next_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('screening_revision')")
        return int(cursor.fetchone()[0])
