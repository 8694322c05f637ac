"""Whether a recording of a customer was heard before: in their enrollment, or in a call that was accepted.

A replay claims whom it was recorded of, so a recording is compared with those of the claimed customer alone: few,
sealed under the customer's key, and erased with it.
"""

from typing import Any
from uuid import UUID

from enrollment import keys
from enrollment.models import Customer, HeardRecording
from mltraining.scorer import Analysis

LATEST = 500  # recordings of one customer that are compared
REPLAY = "REPLAY"


def hits(customer: Customer | None, analysis: Analysis) -> list[dict[str, Any]]:
    """At most one, as screening has them: the recording that this one is. Worker-side only."""
    from mltraining.speech.audio import replay

    if customer is None:
        return []
    index, sources = replay.ReplayIndex(), {}
    for row in HeardRecording.objects.filter(customer=customer).order_by("-heard_at")[:LATEST]:
        index.add_many([(row.pk, keys.unseal_heard(customer, row.source, row.content))])
        sources[row.pk] = row.source
    found = index.find(analysis.views) if sources else None
    if found is None:
        return []
    return [
        {
            "reason": REPLAY,
            "score": found.score,
            "aligned": found.aligned,
            "offset_seconds": found.offset_seconds,
            "heard_as": sources[found.key],
        }
    ]


def remember(customer: Customer, *, kind: str, pk: UUID, fingerprint: bytes) -> None:
    """Keeps what an enrollment's or an accepted call's recording leaves, in the transaction that accepts it."""
    source = f"{kind}:{pk}"
    HeardRecording.objects.create(
        customer=customer, source=source, content=keys.seal_heard(customer, source, fingerprint)
    )
