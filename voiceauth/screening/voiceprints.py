"""Voices that screening compares with, always under one named model: fraudsters' voiceprints and recent calls."""

from collections.abc import Collection

import numpy as np
from django.db.models import BigIntegerField
from django.db.models.expressions import RawSQL

from voiceauth.screening import keys
from voiceauth.screening.models import Fraudster, FraudsterVoiceprint, RecentVoice

NEXT_REVISION = RawSQL("nextval('screening_revision')", (), output_field=BigIntegerField())


def store(fraudster: Fraudster, model_fingerprint: str, vector: np.ndarray) -> None:
    """Store the fraudster's voiceprint ``(d,)`` under one model; one that exists is replaced."""
    FraudsterVoiceprint.objects.update_or_create(
        fraudster=fraudster,
        model_fingerprint=model_fingerprint,
        defaults={"content": keys.seal_voiceprint(fraudster, model_fingerprint, vector), "revision": NEXT_REVISION},
    )


def store_recent(*, customer_id: str, model_fingerprint: str, vector: np.ndarray, speech_seconds: float) -> None:
    """Store what a call that claimed ``customer_id`` sounded like: its embedding ``(d,)``."""
    voice = RecentVoice(
        customer_id=customer_id,
        model_fingerprint=model_fingerprint,
        speech_seconds=speech_seconds,
        revision=NEXT_REVISION,
    )
    keys.seal_recent(voice, vector)
    voice.save(force_insert=True)


def keep_only(model_fingerprints: Collection[str]) -> None:
    """Delete what was made under other models than these."""
    FraudsterVoiceprint.objects.exclude(model_fingerprint__in=model_fingerprints).delete()
    RecentVoice.objects.exclude(model_fingerprint__in=model_fingerprints).delete()
