"""What belongs to a fraudster is sealed under a data key of its own, as with customers; a recent call's voice under a
derived one, which costs no call to a key-management service.
"""

import os
from uuid import UUID

import numpy as np

from voiceauth.platform import vault
from voiceauth.screening.models import Fraudster, RecentVoice

SALT_BYTES = 32
Sealed = bytes | memoryview  # as PostgreSQL hands them out


def new_fraudster_key(fraudster_pk: UUID) -> bytes:
    """A fresh data key for a fraudster, wrapped under the master key."""
    return vault.new_data_key(f"fraudster:{fraudster_pk}")


def seal_audio(fraudster: Fraudster, audio: bytes) -> bytes:
    """The fraudster's recording, as it is stored."""
    return vault.seal(_fraudster_key(fraudster), audio, f"fraudster-audio:{fraudster.pk}")


def unseal_audio(fraudster: Fraudster, sealed: Sealed) -> bytes:
    """The fraudster's recording, as it was uploaded."""
    return vault.unseal(_fraudster_key(fraudster), bytes(sealed), f"fraudster-audio:{fraudster.pk}")


def seal_voiceprint(fraudster: Fraudster, model_fingerprint: str, vector: np.ndarray) -> bytes:
    """A voiceprint ``(d,)`` under one model, as little-endian float32, sealed."""
    context = f"fraudster-voiceprint:{fraudster.pk}:{model_fingerprint}"
    return vault.seal(_fraudster_key(fraudster), _bytes(vector), context)


def unseal_voiceprint(fraudster: Fraudster, model_fingerprint: str, sealed: Sealed) -> np.ndarray:
    """The voiceprint ``(d,)`` float32 that ``seal_voiceprint`` sealed."""
    context = f"fraudster-voiceprint:{fraudster.pk}:{model_fingerprint}"
    return _vector(vault.unseal(_fraudster_key(fraudster), bytes(sealed), context))


def seal_recent(voice: RecentVoice, vector: np.ndarray) -> None:
    """Gives ``voice`` a fresh salt and, sealed under the key that comes of it, the embedding ``(d,)``."""
    voice.salt = os.urandom(SALT_BYTES)
    voice.content = vault.seal(_recent_key(voice), _bytes(vector), _recent_context(voice))


def unseal_recent(voice: RecentVoice) -> np.ndarray:
    """The embedding ``(d,)`` float32 of a recent call."""
    return _vector(vault.unseal(_recent_key(voice), bytes(voice.content), _recent_context(voice)))


def _fraudster_key(fraudster: Fraudster) -> bytes:
    return vault.open_data_key(bytes(fraudster.data_key), f"fraudster:{fraudster.pk}")


def _recent_key(voice: RecentVoice) -> bytes:
    return vault.derived_key(f"recent-voice:{bytes(voice.salt).hex()}")


def _recent_context(voice: RecentVoice) -> str:
    return f"recent-voice:{voice.pk}:{voice.customer_id}:{voice.model_fingerprint}"


def _bytes(vector: np.ndarray) -> bytes:
    return np.asarray(vector, dtype="<f4").tobytes()


def _vector(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype="<f4")
