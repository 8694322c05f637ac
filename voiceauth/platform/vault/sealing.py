"""AES-256-GCM, bound to the place that a ciphertext belongs to."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
KEY_BYTES = 32


class Unsealable(Exception):
    """The ciphertext was changed, moved, or sealed under another key."""


def seal(key: bytes, plaintext: bytes, context: str) -> bytes:
    """Return ``nonce || ciphertext || tag`` of ``plaintext`` under ``key``, bound to ``context``."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context.encode())


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """Return the plaintext of ``sealed``. Raises ``Unsealable`` where key, content or context differ."""
    sealed = bytes(sealed)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise Unsealable(f"cannot unseal {context}") from error
