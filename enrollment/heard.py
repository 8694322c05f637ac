"""The recordings of a customer that were heard before: acoustic fingerprints, kept to detect replays (``replay``)."""

from uuid import UUID

from enrollment import keys
from enrollment.models import AudioSample, Customer, HeardRecording


def remember(
    customer: Customer,
    *,
    acoustic_fingerprint: bytes,
    sample: AudioSample | None = None,
    decision_id: UUID | None = None,
) -> None:
    """Keep the fingerprint of an enrolled ``sample`` or of an accepted call, in the transaction that accepts it."""
    heard = HeardRecording(customer=customer, sample=sample, decision_id=decision_id)
    heard.content = keys.seal_heard(customer, heard.pk, acoustic_fingerprint)
    heard.save(force_insert=True)
