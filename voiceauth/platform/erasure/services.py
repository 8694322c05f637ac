"""Beginning an erasure."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from voiceauth.platform.audit import Actor
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.jobs import services as jobs


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
    as ``storage.collecting`` gives them.
    """
    erasure = Erasure(
        cause=cause, subject=subject, customer_id=customer_id, counts=dict(counts), recordings=list(recordings)
    )
    return jobs.enqueue(erasure, actor=actor)
