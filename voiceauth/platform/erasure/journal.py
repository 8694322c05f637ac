"""The journal of erasures: a restored backup must not bring back a voice that was erased after the backup.

It lies in the storage ``STORAGES["erasures"]``, apart from the database, so that it outlives it. The job writes an
erasure's entry before it deletes the first file, so every erasure that has its receipt is in the journal. ``manage.py
restore`` carries out again, under the same id, each erasure that the restored database does not know.

An entry is sealed under a key derived from the root key: it tells a reader nothing, and nobody can forge one. Whoever
may write to the storage can delete one, though.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from voiceauth.platform import vault
from voiceauth.platform.erasure.models import Erasure


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One erasure, as the rooms need it to erase again."""

    id: str
    cause: str
    subject: str
    customer_id: str
    recordings: list[str]
    at: str  # when it began, ISO 8601 in UTC

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        """Return the entry of ``erasure``."""
        return cls(
            id=str(erasure.pk),
            cause=erasure.cause,
            subject=str(erasure.subject),
            customer_id=erasure.customer_id,
            recordings=list(erasure.recordings),
            at=erasure.created_at.isoformat(timespec="microseconds"),
        )


Repeat = Callable[[Entry], None]

_rooms: dict[str, Repeat] = {}


def register(cause: str, repeat: Repeat) -> None:
    """Have ``repeat`` called, after a restore, with every erasure of this cause that the backup does not know.

    It does what the first erasure did, to whatever the backup has brought back of it, in one transaction.
    """
    _rooms[cause] = repeat


def can_repeat(cause: str) -> bool:
    """Return whether a room has registered how to repeat erasures of this cause."""
    return cause in _rooms


def repeat(entry: Entry) -> None:
    """Carry out an erasure again. Raises ``LookupError`` where no room knows its cause."""
    if not can_repeat(entry.cause):
        raise LookupError(f"The journal has an erasure of the cause {entry.cause!r}, which this version does not know.")
    _rooms[entry.cause](entry)


def write(erasure: Erasure) -> None:
    """Write the entry of an erasure, unless it is there. Raises what the storage's library raises."""
    if has(erasure.pk):
        return
    content = json.dumps(asdict(Entry.of(erasure))).encode()
    sealed = vault.seal(_key(), content, f"erasure:{erasure.pk}")
    _storage().save(_name(str(erasure.pk)), ContentFile(sealed))


def has(erasure_id: UUID) -> bool:
    """Return whether the journal has the entry of this erasure."""
    return _storage().exists(_name(str(erasure_id)))


def ids() -> set[UUID]:
    """Return the ids of all erasures in the journal."""
    try:
        folders, _ = _storage().listdir("")
    except FileNotFoundError:
        return set()  # nothing was erased yet
    return {UUID(name) for folder in folders for name in _storage().listdir(folder)[1]}


def read(erasure_id: UUID) -> Entry:
    """Return the entry of one erasure. Raises ``Unsealable`` where it was forged or is another installation's."""
    with _storage().open(_name(str(erasure_id)), "rb") as file:
        return Entry(**json.loads(vault.unseal(_key(), file.read(), f"erasure:{erasure_id}")))


def _name(erasure_id: str) -> str:
    """Return where an entry lies: in one of 256 folders."""
    return f"{erasure_id[:2]}/{erasure_id}"


def _storage() -> Storage:
    return storages["erasures"]


def _key() -> bytes:
    return vault.derived_key("erasure-journal")
