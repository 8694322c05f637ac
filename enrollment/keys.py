"""Sealing what belongs to a customer, under the customer's own data key (ISO/IEC 24745).

The context of every ciphertext names its customer and its place, so that a row that is moved to another customer,
sample or model cannot be opened there (``vault.Unsealable``). Deleting or replacing the data key erases everything that
was sealed under it, backups included.
"""

import hashlib
import hmac
from uuid import UUID

import numpy as np

from enrollment.models import Customer
from mltraining.vectors import packed, unpacked
from voiceauth.platform import vault

Sealed = bytes | memoryview  # as PostgreSQL hands them out


def new_data_key(customer_pk: UUID) -> bytes:
    """Make a data key for a customer, wrapped under the master key."""
    return vault.new_data_key(f"customer:{customer_pk}")


def seal_audio(customer: Customer, sample_pk: UUID, audio: bytes) -> bytes:
    """Seal the audio of an enrollment sample."""
    return vault.seal(_data_key(customer), audio, f"audio:{customer.pk}:{sample_pk}")


def unseal_audio(customer: Customer, sample_pk: UUID, sealed: Sealed) -> bytes:
    """Return the audio of an enrollment sample, as it was stored. Raises ``Unsealable``."""
    return vault.unseal(_data_key(customer), bytes(sealed), f"audio:{customer.pk}:{sample_pk}")


def seal_call(customer: Customer, decision_pk: UUID, audio: bytes) -> bytes:
    """Seal the audio of a call that claimed to be ``customer``."""
    return vault.seal(_data_key(customer), audio, f"call:{customer.pk}:{decision_pk}")


def unseal_call(customer: Customer, decision_pk: UUID, sealed: Sealed) -> bytes:
    """Return the audio of a call, as it was stored. Raises ``Unsealable``."""
    return vault.unseal(_data_key(customer), bytes(sealed), f"call:{customer.pk}:{decision_pk}")


def seal_embedding(customer: Customer, sample_pk: UUID, model_fingerprint: str, vector: np.ndarray) -> bytes:
    """Seal a sample's embedding ``(d,)`` under one model, as little-endian float32."""
    return _seal_vector(customer, f"embedding:{customer.pk}:{sample_pk}:{model_fingerprint}", vector)


def unseal_embedding(customer: Customer, sample_pk: UUID, model_fingerprint: str, sealed: Sealed) -> np.ndarray:
    """Return the embedding ``(d,)`` float32 that ``seal_embedding`` sealed. Raises ``Unsealable``."""
    return _unseal_vector(customer, f"embedding:{customer.pk}:{sample_pk}:{model_fingerprint}", sealed)


def seal_voiceprint(customer: Customer, model_fingerprint: str, vector: np.ndarray) -> bytes:
    """Seal a voiceprint ``(d,)`` under one model, as little-endian float32."""
    return _seal_vector(customer, f"voiceprint:{customer.pk}:{model_fingerprint}", vector)


def unseal_voiceprint(customer: Customer, model_fingerprint: str, sealed: Sealed) -> np.ndarray:
    """Return the voiceprint ``(d,)`` float32 that ``seal_voiceprint`` sealed. Raises ``Unsealable``."""
    return _unseal_vector(customer, f"voiceprint:{customer.pk}:{model_fingerprint}", sealed)


def seal_heard(customer: Customer, heard_pk: UUID, acoustic_fingerprint: bytes) -> bytes:
    """Seal the acoustic fingerprint of a recording."""
    return vault.seal(_data_key(customer), acoustic_fingerprint, f"heard:{customer.pk}:{heard_pk}")


def unseal_heard(customer: Customer, heard_pk: UUID, sealed: Sealed) -> bytes:
    """Return the acoustic fingerprint that ``seal_heard`` sealed. Raises ``Unsealable``."""
    return vault.unseal(_data_key(customer), bytes(sealed), f"heard:{customer.pk}:{heard_pk}")


def audio_hash(customer: Customer, audio: bytes) -> str:
    """Return the HMAC-SHA-256 of a recording under the customer's key.

    It finds the same bytes again at this customer, and cannot be compared with another customer's.
    """
    return hmac.new(_data_key(customer), b"audio:" + audio, hashlib.sha256).hexdigest()


def _data_key(customer: Customer) -> bytes:
    """Unwrap the data key, once for each instance: a replay check opens up to 500 fingerprints with one key.

    The key lives no longer than the instance, so that an erased customer's key is in no cache.
    """
    wrapped = bytes(customer.data_key)
    if customer.opened_key is None or customer.opened_key[0] != wrapped:
        customer.opened_key = (wrapped, vault.open_data_key(wrapped, f"customer:{customer.pk}"))
    return customer.opened_key[1]


def _seal_vector(customer: Customer, context: str, vector: np.ndarray) -> bytes:
    return vault.seal(_data_key(customer), packed(vector), context)


def _unseal_vector(customer: Customer, context: str, sealed: Sealed) -> np.ndarray:
    return unpacked(vault.unseal(_data_key(customer), bytes(sealed), context))
