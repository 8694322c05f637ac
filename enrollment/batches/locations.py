"""Where manifests and recordings lie: names in one storage, which is only read, and nothing outside of it.

The storage is Django's, ``STORAGES["batches"]``: a folder by default.
"""

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import Storage, storages

from enrollment.batches.errors import LocationNotFound, LocationRefused, LocationUnreadable, RecordingTooLarge


def batch_storage() -> Storage:
    return storages["batches"]


def check_name(location: str) -> None:
    """Raises ``LocationRefused`` for what cannot lie in a storage: absolute, a URL, with ``..`` or a backslash."""
    parts = PurePosixPath(location).parts
    if not parts or parts[0] == "/" or ".." in parts or "://" in location or "\\" in location or "\0" in location:
        raise LocationRefused(location=location)


def check(storage: Storage, location: str) -> None:
    """Raises ``LocationRefused``, and ``LocationNotFound`` where there is no such file."""
    check_name(location)
    try:
        path, root = Path(os.path.realpath(storage.path(location))), os.path.realpath(storage.path(""))
        if not path.is_relative_to(root):
            raise LocationRefused(location=location)
        if not stat.S_ISREG(path.stat().st_mode):
            raise LocationNotFound(location=location)
    except NotImplementedError:  # no folder but, say, S3, where a name is a name
        if not storage.exists(location):
            raise LocationNotFound(location=location) from None
    except SuspiciousFileOperation as error:
        raise LocationRefused(location=location) from error
    except FileNotFoundError as error:
        raise LocationNotFound(location=location) from error
    except (OSError, ValueError) as error:
        raise LocationUnreadable(location=location) from error


def open_file(storage: Storage, location: str) -> Any:
    """The file, opened for reading. Raises what ``check`` does, and ``LocationUnreadable``."""
    check(storage, location)
    try:
        return storage.open(location, "rb")
    except OSError as error:
        raise LocationUnreadable(location=location) from error


def read_recording(storage: Storage, location: str) -> bytes:
    """Its bytes. Raises what ``open_file`` does, and ``RecordingTooLarge``."""
    limit = settings.VOICEAUTH_MAX_UPLOAD_BYTES
    try:
        with open_file(storage, location) as file:
            content = bytes(file.read(limit + 1))
    except OSError as error:
        raise LocationUnreadable(location=location) from error
    if len(content) > limit:
        raise RecordingTooLarge(location=location, limit_bytes=limit)
    return content
