"""Sealing what belongs to a fraudster, and the voice of a recent call.

A fraudster has a data key, as a customer has. A recent call's voice is sealed under a derived key, which costs no call
to a key-management service.
"""

import os
from uuid import UUID

import numpy as np

from mltraining.vectors import packed, unpacked
from voiceauth.platform import vault
from voiceauth.screening.models import Fraudster, RecentVoice

SALT_BYTES = 32
Sealed = bytes | memoryview  # as PostgreSQL hands them out


def new_fraudster_key(fraudster_pk: UUID) -> bytes:
    """Make a data key for a fraudster, wrapped under the master key."""
    return vault.new_data_key(f"fraudster:{fraudster_pk}")


def seal_audio(fraudster: Fraudster, audio: bytes) -> bytes:
    """Seal a fraudster's recording."""
    return vault.seal(_fraudster_key(fraudster), audio, f"fraudster-audio:{fraudster.pk}")


def unseal_audio(fraudster: Fraudster, sealed: Sealed) -> bytes:
    """Return a fraudster's recording, as it was stored. Raises ``Unsealable``."""
    return vault.unseal(_fraudster_key(fraudster), bytes(sealed), f"fraudster-audio:{fraudster.pk}")


def seal_voiceprint(fraudster: Fraudster, model_fingerprint: str, vector: np.ndarray) -> bytes:
    """Seal a voiceprint ``(d,)`` under one model, as little-endian float32."""
    context = f"fraudster-voiceprint:{fraudster.pk}:{model_fingerprint}"
    return vault.seal(_fraudster_key(fraudster), packed(vector), context)


def unseal_voiceprint(fraudster: Fraudster, model_fingerprint: str, sealed: Sealed) -> np.ndarray:
    """Return the voiceprint ``(d,)`` float32 that ``seal_voiceprint`` sealed. Raises ``Unsealable``."""
    context = f"fraudster-voiceprint:{fraudster.pk}:{model_fingerprint}"
    return unpacked(vault.unseal(_fraudster_key(fraudster), bytes(sealed), context))


def seal_recent(voice: RecentVoice, vector: np.ndarray) -> None:
    """Give ``voice`` a new salt, and its embedding ``(d,)``, sealed under the key derived from the salt."""
    voice.salt = os.urandom(SALT_BYTES)
    voice.content = vault.seal(_recent_key(voice), packed(vector), _recent_context(voice))


def unseal_recent(voice: RecentVoice) -> np.ndarray:
    """Return the embedding ``(d,)`` float32 of a recent call. Raises ``Unsealable``."""
    return unpacked(vault.unseal(_recent_key(voice), bytes(voice.content), _recent_context(voice)))


def _fraudster_key(fraudster: Fraudster) -> bytes:
    return vault.open_data_key(bytes(fraudster.data_key), f"fraudster:{fraudster.pk}")


def _recent_key(voice: RecentVoice) -> bytes:
    return vault.derived_key(f"recent-voice:{bytes(voice.salt).hex()}")


def _recent_context(voice: RecentVoice) -> str:
    return f"recent-voice:{voice.pk}:{voice.customer_id}:{voice.model_fingerprint}"
