"""Sealed recordings, in the storage ``STORAGES["audio"]``: a folder, or S3. Their names are random and reveal nothing.

A recording is written before the transaction that names it commits, and deleted after the transaction that deletes its
row has committed. The next ``sweep`` deletes what a crash or a rollback leaves behind, and what could not be deleted.

An erasure must be able to state that nothing is left: it deletes rows inside ``collecting`` and hands the names to the
job of ``platform.erasure``, which calls ``delete`` until it succeeds.
"""

import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import models, transaction
from django.db.models.fields.files import FieldFile, FileDescriptor
from django.utils import timezone

from voiceauth.platform.errors import DomainError, NotFound

logger = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(hours=1)  # far longer than a transaction may take
BATCH = 1000

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


class RecordingGone(NotFound):
    """The row names a file that the storage does not have."""

    code = "recording_gone"
    message = "The recording was deleted just now, or the storage has lost it."


class StorageUnavailable(DomainError):
    """The recording could not be stored: the disk is full, for example. Carries ``retry_after_seconds``."""

    code = "storage_unavailable"
    status = 503
    message = "The recording could not be stored, so nothing was done. Try again shortly, or use another factor."


class _Descriptor(FileDescriptor):
    def __set__(self, instance: Any, value: Any) -> None:
        super().__set__(instance, ContentFile(value, name="sealed") if isinstance(value, bytes) else value)


class AudioField(models.FileField):
    """A sealed recording: ``bytes`` when the row is made, its name in the storage afterwards. It goes with its row."""

    descriptor_class = _Descriptor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"upload_to": opaque_name, "storage": storage, "max_length": 64})

    def deconstruct(self) -> Any:
        """Return what a migration needs: nothing of what this class fixes itself."""
        name, path, args, options = super().deconstruct()
        return name, path, args, {key: options[key] for key in options.keys() - {"upload_to", "storage", "max_length"}}

    def contribute_to_class(self, cls: Any, name: str, **options: Any) -> None:  # type: ignore[override]
        """Delete the recording with its row, in every model that has the field."""
        super().contribute_to_class(cls, name, **options)
        if cls.__module__ != "__fake__":  # a migration's
            models.signals.post_delete.connect(self._delete_on_commit, sender=cls)

    def _delete_on_commit(self, instance: Any, using: str, **_: Any) -> None:
        name = getattr(instance, self.attname).name
        collected = _collected.get()
        if collected is not None:
            collected.append(name)
        else:
            transaction.on_commit(partial(_delete_or_leave, name), using=using)


class AudioFolder(FileSystemStorage):
    """A folder that only we may enter. A recording is on the disk before the row that names it commits."""

    def _save(self, name: str, content: Any) -> str:
        """Store a recording. Raises ``StorageUnavailable``, and leaves no part of the file behind."""
        path = self.path(name)
        try:
            saved = super()._save(name, content)  # type: ignore[misc]  # the stubs lack it
            for each in (path, os.path.dirname(path)):
                _sync(each)
        except OSError as error:
            logger.error("ALARM storage_unavailable: a recording could not be stored (%s)", error.strerror)
            with suppress(OSError):  # there may be no part of it
                os.unlink(path)
            raise StorageUnavailable(retry_after_seconds=5) from error
        return str(saved)


def _sync(path: str) -> None:
    """Have the disk take what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage() -> Storage:
    """Return the storage of recordings."""
    return storages["audio"]


def opaque_name(instance: Any = None, filename: str = "") -> str:
    """Return a random name, in one of 256 folders."""
    token = secrets.token_hex(16)
    return f"{token[:2]}/{token}"


def read(recording: FieldFile) -> bytes:
    """Return the ciphertext. Raises ``RecordingGone``."""
    try:
        with recording.open("rb") as file:
            return bytes(file.read())
    except FileNotFoundError as error:
        raise RecordingGone from error


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Collect the names of the recordings whose rows are deleted inside, whichever table they are in.

    Their files stay: the caller sees to it that ``delete`` is called for each.
    """
    names: list[str] = []
    token = _collected.set(names)
    try:
        yield names
    finally:
        _collected.reset(token)


def delete(name: str) -> None:
    """Delete a recording; one that is gone already is fine. Raises what the storage's library raises."""
    storage().delete(name)
    if storage().exists(name):  # for example a bucket that was told to keep what is deleted
        raise OSError(f"The storage still has the recording {name} after deleting it.")


def sweep() -> int:
    """Delete the recordings that no row has named for ``ORPHAN_AGE``, and return how many.

    What cannot be deleted is left to the next sweep.
    """
    swept = 0
    for names in stored():
        for name in names - _named(names):
            try:
                if storage().get_modified_time(name) < timezone.now() - ORPHAN_AGE:
                    storage().delete(name)
                    swept += 1
            except FileNotFoundError:
                continue  # deleted meanwhile
            except Exception as error:  # each storage's library raises errors of its own; one must not stop the rest
                logger.warning("a recording without a row could not be deleted: %s", type(error).__name__)
    return swept


def stored() -> Iterator[set[str]]:
    """Yield the names of all recordings, some at a time."""
    try:
        folders, _ = storage().listdir("")
    except FileNotFoundError:
        return  # nothing was stored yet
    for folder in sorted(folders):
        names = sorted(f"{folder}/{name}" for name in storage().listdir(folder)[1])
        for start in range(0, len(names), BATCH):
            yield set(names[start : start + BATCH])


def _named(names: Iterable[str]) -> set[str]:
    """Return those of ``names`` that a row names."""
    found: set[str] = set()
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, AudioField):
                rows = model._base_manager.filter(**{f"{field.name}__in": list(names)})
                found.update(rows.values_list(field.name, flat=True))
    return found


def _delete_or_leave(name: str) -> None:
    """Delete a recording that has expired; nobody gets a receipt for it, so the sweep may be the one to succeed."""
    try:
        delete(name)
    except Exception as error:  # each storage's library raises errors of its own; the transaction has committed
        logger.warning("a recording could not be deleted, the sweep will try again: %s", type(error).__name__)
