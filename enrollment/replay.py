"""Replay detection: whether a recording was heard before, in the enrollment or in an accepted call.

A replayed recording claims the customer whose voice it holds, so it is compared with the recordings of the claimed
customer only. They are few, sealed under the customer's key, and erased with it.
"""

from enrollment import keys
from enrollment.models import Customer, HeardRecording
from mltraining.recordings import Analysis
from voiceauth.screening.risk import REPLAY, Hit

LATEST = 500  # recordings of one customer that are compared


def hits(customer: Customer | None, analysis: Analysis) -> list[Hit]:
    """Return one hit that names the earlier recording, or none where this one is new. Worker-side only."""
    from mltraining.speech.audio import replay

    if customer is None:
        return []
    heard = list(HeardRecording.objects.filter(customer=customer).order_by("-heard_at")[:LATEST])
    index = replay.ReplayIndex()
    index.add_many([(at, keys.unseal_heard(customer, row.pk, row.content)) for at, row in enumerate(heard)])
    found = index.find(analysis.views) if heard else None
    if found is None:
        return []
    original = heard[found.key]
    return [
        Hit(
            reason=REPLAY,
            score=found.score,
            aligned=found.aligned,
            offset_seconds=found.offset_seconds,
            heard_in_sample=str(original.sample_id) if original.sample_id else None,
            heard_in_decision=str(original.decision_id) if original.decision_id else None,
        )
    ]
