"""The recordings of a customer that were heard before: acoustic fingerprints, kept to detect replays (``replay``)."""

from uuid import UUID

from enrollment import keys
from enrollment.models import Customer, HeardRecording


def remember(customer: Customer, *, kind: str, pk: UUID, acoustic_fingerprint: bytes) -> None:
    """Keep the fingerprint of an enrolled or accepted recording, in the transaction that accepts it."""
    source = f"{kind}:{pk}"
    HeardRecording.objects.create(
        customer=customer, source=source, content=keys.seal_heard(customer, source, acoustic_fingerprint)
    )
