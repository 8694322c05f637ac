"""Replay detection: whether a recording was heard before, in the enrollment or in an accepted call.

A replayed recording claims the customer whose voice it holds, so it is compared with the recordings of the claimed
customer only. They are few, sealed under the customer's key, and erased with it.
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from enrollment import keys
from enrollment.models import Customer, HeardRecording
from mltraining.recordings import Analysis
from voiceauth.screening.risk import REPLAY, Hit

if TYPE_CHECKING:
    from mltraining.speech.audio.redaction import Intervals
    from mltraining.speech.audio.replay import Replay

LATEST = 500  # recordings of one customer that are compared


LEAST_NEW_SECONDS = 1.5  # of speech that was never heard: with less, the recording is a replay


def new_speech(
    customer: Customer | None, analysis: Analysis, *, decision: UUID | None = None
) -> tuple[Analysis, list[Hit]]:
    """Return what of a recording is new, and one hit where too little of it is. Worker-side only.

    Stretches that repeat an earlier recording, such as the announcement of a line, are cut out: they prove nothing, so
    the voice is judged by the rest. Where hardly any speech is left the recording is returned as it is, and the hit
    names the earlier one. ``decision`` is the one that the recording itself led to, which is left out.
    """
    from mltraining.speech.audio import replay

    if customer is None:
        return analysis, []
    earlier = HeardRecording.objects.filter(customer=customer)
    if decision is not None:
        earlier = earlier.exclude(decision_id=decision)
    rows = earlier.order_by("-heard_at").values_list("pk", "content", "sample_id", "decision_id", named=True)
    heard = list(rows[:LATEST])
    fingerprints = [keys.unseal_heard(customer, row.pk, row.content) for row in heard]
    index = replay.ReplayIndex()
    index.add_many(enumerate(fingerprints))
    rest = analysis
    while heard and (found := index.find(rest.views)):
        stretches = replay.repeated(fingerprints[found.key], rest.views, found.offset_seconds)
        shorter = rest.without(stretches)
        if not stretches or shorter.quality.speech_seconds < LEAST_NEW_SECONDS:
            # Once something was cut out, seconds of the rest are not seconds of the recording.
            return analysis, [_hit(heard[found.key], found, stretches if rest is analysis else [])]
        rest = shorter
        index.remove_many([found.key])
    return rest, []


def _hit(original: Any, found: "Replay", stretches: "Intervals") -> Hit:
    return Hit(
        reason=REPLAY,
        score=found.score,
        aligned=found.aligned,
        offset_seconds=found.offset_seconds,
        stretches=tuple((max(0.0, start), end) for start, end in stretches),
        heard_in_sample=str(original.sample_id) if original.sample_id else None,
        heard_in_decision=str(original.decision_id) if original.decision_id else None,
    )
