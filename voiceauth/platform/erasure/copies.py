"""Copies of recordings that rooms make, and how each room removes those of one person."""

from collections.abc import Callable
from uuid import UUID

from voiceauth.platform.jobs.errors import JobFailed

Remove = Callable[[UUID], None]

_rooms: dict[str, Remove] = {}


class CopiesInUse(JobFailed):
    """Something still works with a copy and was told to stop. The erasure is tried again a little later."""

    def __init__(self, message: str) -> None:
        super().__init__("copies_in_use", message)


def register(room: str, remove: Remove) -> None:
    """Have ``remove`` called by the erasing job with the number of the person whose copies must go.

    It runs in the training worker, may be called again and again, and returns only where nothing is left. Else it
    raises ``CopiesInUse``, or the ``OSError`` that kept it from deleting.
    """
    _rooms[room] = remove


def remove_all(subject: UUID) -> None:
    """Remove a person's copies from every room. Raises what ``register`` names."""
    for remove in _rooms.values():
        remove(subject)
