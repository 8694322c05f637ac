"""Encryption at rest (ISO/IEC 24745): AES-256-GCM under one data key per customer.

Master keys (``providers``) wrap the data keys. Deleting a customer's wrapped key makes every copy of their audio and
voiceprints unreadable, backups included. ``context`` binds a ciphertext to its place, so that a row cannot be moved to
another customer or another purpose. ``rotation`` wraps everything under a new master key.

What belongs to no customer (the trail's hashes, queue messages) is under keys derived from the service's root key: a
random key, wrapped as the customers' are. A rotation wraps the root key anew without changing it, so that the trail
still verifies.
"""

import os
from functools import cache

from voiceauth.platform.vault.keyring import unwrap as open_data_key
from voiceauth.platform.vault.keyring import wrap
from voiceauth.platform.vault.providers import KeysUnavailable, UnknownMasterKey, expand
from voiceauth.platform.vault.sealing import KEY_BYTES, Unsealable, seal, unseal

__all__ = [
    "KeysUnavailable",
    "RootKeyMissing",
    "UnknownMasterKey",
    "Unsealable",
    "derived_key",
    "new_data_key",
    "open_data_key",
    "seal",
    "unseal",
]


class RootKeyMissing(Exception):
    """The database has no root key. None is made up: that would hide that it was removed."""


def new_data_key(context: str) -> bytes:
    """Make a data key, wrapped under the current master key, as it is stored."""
    return wrap(os.urandom(KEY_BYTES), context)


def derived_key(purpose: str) -> bytes:
    """Return a 32-byte key for one purpose, derived from the service's root key."""
    return expand(_root_key(), purpose)


@cache
def _root_key() -> bytes:
    from voiceauth.platform.vault.models import RootKey

    root = RootKey.objects.first()
    if root is None:
        raise RootKeyMissing("The database has no root key: run migrate, or restore the table vault_rootkey.")
    return open_data_key(bytes(root.data_key), f"root:{root.pk}")
