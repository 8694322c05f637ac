"""Beginning an erasure, and repeating those that a restored backup does not know."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID, uuid4

from django.db import transaction

from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.jobs import services as jobs

_again: ContextVar[UUID | None] = ContextVar("again", default=None)


def begin(
    *,
    cause: str,
    subject: UUID,
    recordings: Sequence[str],
    counts: Mapping[str, int],
    customer_id: str = "",
    actor: Actor,
) -> Erasure:
    """Queue the erasure of a voice's files, in the transaction that deletes its rows and its key.

    It writes to the audit trail, so call it after every other change. ``recordings`` are names in the audio storage,
    as ``storage.collecting`` gives them. Raises ``LookupError`` for a cause that a restore could not repeat.
    """
    if not journal.can_repeat(cause):
        raise LookupError(f"Nothing is registered that repeats {cause} after a restore: see erasure.journal.register.")
    erasure = Erasure(
        id=_again.get() or uuid4(),
        cause=cause,
        subject=subject,
        customer_id=customer_id,
        counts=dict(counts),
        recordings=list(recordings),
    )
    return jobs.enqueue(erasure, actor=actor)


def repeat_after_restore() -> int:
    """Carry out again every erasure of the journal that the database does not know, the oldest first.

    Each keeps its id: whoever follows it finds it again, and the next restore knows that it was carried out. Return how
    many there were. Raises ``Unsealable`` and ``LookupError`` for entries that cannot be read or repeated.
    """
    unknown = journal.ids() - set(Erasure.objects.values_list("pk", flat=True))
    for entry in sorted(map(journal.read, unknown), key=lambda entry: entry.at):
        with transaction.atomic(), _as(UUID(entry.id)):
            journal.repeat(entry)
            if not Erasure.objects.filter(pk=entry.id).exists():  # nothing of it came back with the backup
                begin(
                    cause=entry.cause,
                    subject=UUID(entry.subject),
                    customer_id=entry.customer_id,
                    recordings=entry.recordings,
                    counts={},
                    actor=SYSTEM,
                )
    return len(unknown)


@contextmanager
def _as(erasure_id: UUID) -> Iterator[None]:
    """Have the erasure that begins in the block take this id."""
    token = _again.set(erasure_id)
    try:
        yield
    finally:
        _again.reset(token)
