"""Registered models in S3: ``STORAGES["models"]``, where ``VOICEAUTH_MODELS_STORAGE`` is set.

    <version>/<file>     as in the folder of the version
    <version>/manifest   the SHA-256 of each file; it is written last, so half an upload is no model

Each machine then fetches the models that it needs into its own folder. The manifest is sealed under a key derived from
the root key and bound to its version: whoever may write to the bucket can damage a model, but cannot forge one.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from voiceauth.platform import vault

MANIFEST = "manifest"


class StoreError(Exception):
    """The store does not answer, has not the whole model, or has another one. The message says which."""


def is_used() -> bool:
    """Return whether models are kept in a bucket."""
    return "models" in settings.STORAGES


def has(version: str) -> bool:
    """Return whether the store has the whole model. Raises ``StoreError``."""
    with _errors(f"the store was asked for {version}"):
        return _storage().exists(f"{version}/{MANIFEST}")


def upload(version: str, folder: Path) -> None:
    """Store the files of ``folder`` as ``version``. Raises ``StoreError``."""
    key = _key()
    with _errors(f"{version} could not be stored"):
        sums = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = path.relative_to(folder).as_posix()
            sums[name] = _sha256(path)
            with path.open("rb") as file:
                _storage().save(f"{version}/{name}", File(file))
        manifest = vault.seal(key, json.dumps(sums).encode(), _context(version))
        _storage().save(f"{version}/{MANIFEST}", ContentFile(manifest))


def fetch(version: str, fingerprint: str, folder: Path) -> None:
    """Fetch ``version`` into ``folder``, in one step (rename). One process of a machine does it, the others wait.

    Raises ``StoreError``, also where the model has not this ``fingerprint``, and leaves no part of it behind. Whoever
    waited for a process that failed fails with it.
    """
    key = _key()
    with _errors(f"{version} could not be fetched"):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder.parent / f".fetching-{version}").open("a") as lock:
            waited = _acquire(lock)
            if folder.exists():
                return
            if waited:  # as long as an attempt takes; a worker that starts must not wait longer
                raise StoreError("another process has just failed")
            draft = folder.with_name(f".incoming-{version}")
            shutil.rmtree(draft, ignore_errors=True)  # of an attempt that was cut off
            try:
                _fetch_checked(version, key, fingerprint, draft)
                os.replace(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)


def delete(version: str) -> None:
    """Delete a version, its manifest first. Raises ``StoreError``."""
    with _errors(f"{version} could not be deleted"):
        _storage().delete(f"{version}/{MANIFEST}")
        for name in list(_stored(version)):
            _storage().delete(name)


def _acquire(lock: IO[str]) -> bool:
    """Lock the file until it is closed. Return whether another process had it locked."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return True
    return False


def _fetch_checked(version: str, key: bytes, fingerprint: str, draft: Path) -> None:
    with _storage().open(f"{version}/{MANIFEST}", "rb") as file:
        sums = json.loads(vault.unseal(key, file.read(), _context(version)))
    for name, expected in sums.items():
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with _storage().open(f"{version}/{name}", "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
            os.fsync(copy.fileno())
        if _sha256(target) != expected:
            raise StoreError(f"{name} is not what the manifest describes")
    found = json.loads((draft / "pipeline.json").read_text(encoding="utf-8"))["fingerprint"]
    if found != fingerprint:
        raise StoreError(f"it has the fingerprint {found}, not the registered {fingerprint}")


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each storage's library raises errors of its own
        raise StoreError(f"{what}: {str(error) or type(error).__name__}") from error


def _stored(folder: str) -> Iterator[str]:
    folders, names = _storage().listdir(folder)
    yield from (f"{folder}/{name}" for name in names)
    for each in folders:
        yield from _stored(f"{folder}/{each}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storage() -> Storage:
    return storages["models"]


def _key() -> bytes:
    return vault.derived_key("model-store")


def _context(version: str) -> str:
    return f"model:{version}"
