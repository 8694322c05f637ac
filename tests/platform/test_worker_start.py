"""A worker that cannot start says why."""

import errno
import os

import billiard
import pytest

from voiceauth.celery import require_shared_memory


def test_a_worker_without_writable_shared_memory_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(billiard, "Lock", refuse)
    with pytest.raises(SystemExit, match=r"Read-only file system.*/dev/shm must be writable"):
        require_shared_memory()


def test_a_worker_with_shared_memory_starts() -> None:
    require_shared_memory()
