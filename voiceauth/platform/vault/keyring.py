"""Wraps data keys under the configured master keys. A wrapped key is ``length of the id || id || ciphertext``.

Every configured provider can unwrap. The first one wraps, in the order key-management service, environment, files. So a
rotation can also move the data keys from one provider to another.
"""

from functools import lru_cache

from django.conf import settings

from voiceauth.platform.vault.providers import EnvironmentKeys, FileKeys, KeyProvider, UnknownMasterKey
from voiceauth.platform.vault.sealing import Unsealable


def providers() -> list[KeyProvider]:
    """Return the configured providers, the current one first. Raises ``ImproperlyConfigured``."""
    found: list[KeyProvider] = []
    if settings.VOICEAUTH_TRANSIT_URL:
        found.append(
            _transit(settings.VOICEAUTH_TRANSIT_URL, settings.VOICEAUTH_TRANSIT_KEY, settings.VOICEAUTH_TRANSIT_TOKEN)
        )
    if settings.VOICEAUTH_MASTER_KEY or settings.VOICEAUTH_MASTER_KEYS:
        found.append(EnvironmentKeys(settings.VOICEAUTH_MASTER_KEY, settings.VOICEAUTH_MASTER_KEYS))
    files = FileKeys(settings.VOICEAUTH_MASTER_KEYS_DIR)
    if not found or files.exists():
        found.append(files)
    return found


def current_id() -> str:
    """Return the id of the master key that wraps new data keys. Raises ``KeysUnavailable``."""
    return providers()[0].known_ids()[-1]


def wrap(key: bytes, context: str) -> bytes:
    """Wrap ``key`` under the current master key, in the form that is stored. Raises ``KeysUnavailable``."""
    key_id, wrapped = providers()[0].wrap(key, context)
    return prefix_of(key_id) + wrapped


def unwrap(wrapped: bytes, context: str) -> bytes:
    """Return the key inside ``wrapped``. Raises ``Unsealable``, ``UnknownMasterKey`` and ``KeysUnavailable``."""
    wrapped = bytes(wrapped)
    if not wrapped:
        raise Unsealable(f"there is no key for {context}")
    length = wrapped[0]
    key_id, rest = wrapped[1 : 1 + length].decode("utf-8", "replace"), wrapped[1 + length :]
    for provider in providers():
        try:
            return provider.unwrap(key_id, rest, context)
        except UnknownMasterKey:
            continue
    raise UnknownMasterKey(f"{context} is wrapped under the master key {key_id!r}, which is not configured")


def prefix_of(key_id: str) -> bytes:
    """Return the bytes that every key wrapped under one master key begins with."""
    return bytes([len(key_id.encode())]) + key_id.encode()


@lru_cache(maxsize=4)
def _transit(url: str, key: str, token: str) -> KeyProvider:
    from voiceauth.platform.vault.transit import TransitKeys

    return TransitKeys(url, key, token)
