"""Whether a recording of a customer was heard before: in their enrollment, or in a call that was accepted.

A replay claims whom it was recorded of, so a recording is compared with those of the claimed customer alone: few,
sealed under the customer's key, and erased with it.
"""

from enrollment import keys
from enrollment.models import Customer, HeardRecording
from mltraining.recordings import Analysis
from voiceauth.screening.risk import REPLAY, Hit

LATEST = 500  # recordings of one customer that are compared


def hits(customer: Customer | None, analysis: Analysis) -> list[Hit]:
    """At most one, as screening has them: the recording that this one is. Worker-side only."""
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
