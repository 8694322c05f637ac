"""Manifests and recordings in the storage of batches, and the guard against reading anything outside of it.

The storage is Django's ``STORAGES["batches"]``, a folder by default. It is only read.
"""

import os
import stat
from pathlib import Path, PurePosixPath
from typing import IO, cast

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import Storage, storages

from enrollment.batches.errors import LocationNotFound, LocationRefused, LocationUnreadable, RecordingTooLarge


def batch_storage() -> Storage:
    """Return the storage that manifests and recordings are read from."""
    return storages["batches"]


def check_name(location: str) -> None:
    """Refuse a name that is absolute or a URL, or has ``..`` or a backslash in it. Raises ``LocationRefused``."""
    parts = PurePosixPath(location).parts
    if not parts or parts[0] == "/" or ".." in parts or "://" in location or "\\" in location or "\0" in location:
        raise LocationRefused(location=location)


def check(storage: Storage, location: str) -> None:
    """Refuse a location outside the storage.

    Raises ``LocationRefused``, ``LocationNotFound`` and ``LocationUnreadable``.
    """
    check_name(location)
    try:
        path, root = Path(os.path.realpath(storage.path(location))), os.path.realpath(storage.path(""))
        if not path.is_relative_to(root):
            raise LocationRefused(location=location)
        if not stat.S_ISREG(path.stat().st_mode):
            raise LocationNotFound(location=location)
    except NotImplementedError:  # not a folder but, for example, S3, which has no links
        if not storage.exists(location):
            raise LocationNotFound(location=location) from None
    except SuspiciousFileOperation as error:
        raise LocationRefused(location=location) from error
    except FileNotFoundError as error:
        raise LocationNotFound(location=location) from error
    except (OSError, ValueError) as error:
        raise LocationUnreadable(location=location) from error


def open_file(storage: Storage, location: str) -> IO[bytes]:
    """Open the file for reading. Raises what ``check`` does."""
    check(storage, location)
    try:
        return cast(IO[bytes], storage.open(location, "rb"))
    except OSError as error:
        raise LocationUnreadable(location=location) from error


def read_recording(storage: Storage, location: str) -> bytes:
    """Return the bytes of a recording. Raises what ``open_file`` does, and ``RecordingTooLarge``."""
    limit = settings.VOICEAUTH_MAX_UPLOAD_BYTES
    try:
        with open_file(storage, location) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise LocationUnreadable(location=location) from error
    if len(content) > limit:
        raise RecordingTooLarge(location=location, limit_bytes=limit)
    return content
