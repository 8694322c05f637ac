"""Where master keys come from: secrets in the environment, files, or a key-management service (``transit``).

A master key has an id, which is stored with every data key that it wraps. Several are configured during a rotation. One
of them is current, and wraps new data keys.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from voiceauth.platform.errors import DomainError
from voiceauth.platform.vault.sealing import seal, unseal

MIN_SECRET_LENGTH = 32
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
FIRST_FILE = "voiceauth_master_key"  # the first; later ones are called voiceauth_master_key.20270101T000000000000Z


KeyFile = tuple[str, int, int, int]  # name, inode, time of change in nanoseconds, bytes


class UnknownMasterKey(Exception):
    """A data key is wrapped under a master key that is not, or no longer, configured."""


class KeysUnavailable(DomainError):
    """The key-management service did not answer, or refused."""

    code = "keys_unavailable"
    status = 503
    message = "The key-management service does not answer. Try again shortly."


class KeyProvider(ABC):
    """Master keys by id. ``context`` binds a wrapped key to the row that holds it."""

    @abstractmethod
    def known_ids(self) -> list[str]:
        """Return the ids of all master keys that can unwrap, the current one last. Raises ``KeysUnavailable``."""

    @abstractmethod
    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Return the id of the current master key, and ``key`` wrapped under it. Raises ``KeysUnavailable``."""

    @abstractmethod
    def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the wrapped key. Raises ``Unsealable``, ``UnknownMasterKey`` and ``KeysUnavailable``."""

    @abstractmethod
    def renew(self) -> str:
        """Make a new master key, which is current from now on, and return its id. Raises ``NotRenewable``."""


class NotRenewable(Exception):
    """Somebody else makes this provider's keys: whoever configures it."""


class Secrets(KeyProvider):
    """Master keys that are derived from secrets of at least 32 characters, which this process can read."""

    @abstractmethod
    def secrets(self) -> Mapping[str, str]:
        """Return the secrets by key id, the current one last."""

    def known_ids(self) -> list[str]:
        """Return the ids of the secrets, the current one last."""
        return list(self.secrets())

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Wrap ``key`` under the current secret."""
        key_id, secret = list(self.secrets().items())[-1]
        return key_id, seal(_wrapping_key(secret), key, context)

    def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Unwrap under the secret ``key_id``. Raises ``UnknownMasterKey`` and ``Unsealable``."""
        secret = self.secrets().get(key_id)
        if secret is None:
            raise UnknownMasterKey(key_id)
        return unseal(_wrapping_key(secret), wrapped, context)


class EnvironmentKeys(Secrets):
    """``single`` (``VOICEAUTH_MASTER_KEY``), whose id is derived from it, and the ``listed`` ones, ``id:secret``.

    The first of the listed ones is current; without any, the single one. Raises ``ImproperlyConfigured``.
    """

    def __init__(self, single: str, listed: list[str]) -> None:
        pairs = [(each.partition(":")[0].strip(), each.partition(":")[2].strip()) for each in listed]
        if single:
            pairs.append((f"key-{hashlib.sha256(single.encode()).hexdigest()[:8]}", single))
        for key_id, secret in pairs:
            if not KEY_ID.fullmatch(key_id) or len(secret) < MIN_SECRET_LENGTH:
                raise ImproperlyConfigured(
                    "VOICEAUTH_MASTER_KEYS must be id:secret,id:secret, and each secret must have at least "
                    f"{MIN_SECRET_LENGTH} characters."
                )
        self._secrets = dict(reversed(pairs))
        if len(self._secrets) < len(pairs):
            raise ImproperlyConfigured("VOICEAUTH_MASTER_KEYS has two keys with the same id.")

    def secrets(self) -> Mapping[str, str]:
        """Return the secrets of the environment."""
        return self._secrets

    def renew(self) -> str:
        """Raise ``NotRenewable``: the environment is not ours to change."""
        raise NotRenewable(
            "Put the new key first into VOICEAUTH_MASTER_KEYS, as id:secret, and keep the old one after it."
        )


class FileKeys(Secrets):
    """The files ``voiceauth_master_key*`` of a folder, each a secret; the last one by name is current.

    The folder is listed each time, so that a key that is added or removed counts in all processes at once; the files
    are read again only where the list has changed. The first key is made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def secrets(self) -> Mapping[str, str]:
        """Return the secrets of the folder; the first one is made where there is none."""
        files = self._files()
        if not files:
            self._write(FIRST_FILE)
            files = self._files()
        return _read(self.folder, files)

    def exists(self) -> bool:
        """Return whether the folder holds a key."""
        return bool(self._files())

    def renew(self) -> str:
        """Write a new key's file, which is current from now on, and return its name."""
        return self._write(f"{FIRST_FILE}.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")

    def _files(self) -> tuple[KeyFile, ...]:
        """List the folder's key files, by name."""
        try:
            with os.scandir(self.folder) as entries:
                found = [(each.name, each.stat()) for each in entries if each.name.startswith(FIRST_FILE)]
        except FileNotFoundError:
            return ()
        return tuple(sorted((name, at.st_ino, at.st_mtime_ns, at.st_size) for name, at in found))

    def _write(self, name: str) -> str:
        """Write a key's file, completely or not at all, and return its name. An existing file is kept."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, encoding="ascii") as file:  # mode 0600
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(file.name, self.folder / name)
        return name


@lru_cache(maxsize=4)
def _read(folder: Path, files: tuple[KeyFile, ...]) -> Mapping[str, str]:
    """Return the secrets in ``files`` by name."""
    return {name: (folder / name).read_text(encoding="ascii").strip() for name, *_ in files}


def _wrapping_key(secret: str) -> bytes:
    return expand(hashlib.sha256(secret.encode()).digest(), "data-keys")


def expand(root: bytes, purpose: str) -> bytes:
    """Derive a 32-byte key for one purpose (HMAC-SHA-256, RFC 5869 expand)."""
    return hmac.digest(root, f"voiceauth:{purpose}".encode() + b"\x01", "sha256")
