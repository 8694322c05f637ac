"""Encryption at rest (ISO/IEC 24745): AES-256-GCM under one data key per customer.

The master key comes from the environment (``VOICEAUTH_MASTER_KEY``) or is generated on first run.
It wraps each customer's data key; deleting a customer's wrapped key makes every copy of their audio
and voiceprints, backups included, unreadable. ``context`` binds a ciphertext to its place, so that a
row cannot be moved to another customer or another purpose.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

NONCE_BYTES = 12
KEY_BYTES = 32


class Unsealable(Exception):
    """The ciphertext was changed, moved, or sealed under another key."""


def derived_key(purpose: str) -> bytes:
    """A 32-byte key for one purpose, derived from the master key (HMAC-SHA-256, RFC 5869 expand)."""
    master = bytes.fromhex(hashlib.sha256(settings.VOICEAUTH_MASTER_KEY.encode()).hexdigest())
    return hmac.new(master, f"voiceauth:{purpose}".encode() + b"\x01", hashlib.sha256).digest()


def seal(key: bytes, plaintext: bytes, context: str) -> bytes:
    """``nonce || ciphertext || tag`` of ``plaintext`` under ``key``, bound to ``context``."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context.encode())


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """The plaintext of ``sealed``. Raises ``Unsealable`` where key, content or context differ."""
    sealed = bytes(sealed)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise Unsealable(f"cannot unseal {context}") from error


def new_data_key(context: str) -> bytes:
    """A fresh data key, wrapped under the master key, as it is stored."""
    return seal(derived_key("data-keys"), os.urandom(KEY_BYTES), context)


def open_data_key(wrapped: bytes, context: str) -> bytes:
    """The data key inside ``wrapped``."""
    return unseal(derived_key("data-keys"), wrapped, context)
