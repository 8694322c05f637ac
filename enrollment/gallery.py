"""The gallery of all enrolled customers' voiceprints under one model, in a scoring worker's memory."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from enrollment import voiceprints
from mltraining import gallery
from mltraining.gallery import Compare, Entry, GalleryState


@dataclass(frozen=True)
class Match:
    """One customer and how the call compares with their voiceprint; the ratio is in natural logarithm."""

    customer_id: str
    score: float
    log_likelihood_ratio: float
    probability: float


class Gallery(gallery.Gallery):
    def search(self, compare: Compare, *, candidates: Collection[str] | None, limit: int) -> list[Match]:
        """The ``limit`` likeliest, the best first; equals by identifier.

        ``candidates`` narrows the search; who is not enrolled is left out.
        """
        found = self.nearest(compare, names=candidates, limit=limit)
        return [Match(each.name, each.score, each.log_likelihood_ratio, each.probability) for each in found]

    def read_state(self) -> GalleryState:
        return voiceprints.gallery_state(self.fingerprint)

    def read_revisions(self) -> dict[UUID, int]:
        return voiceprints.gallery_revisions(self.fingerprint)

    def read_entries(self, *, after: int | None = None, owners: Collection[UUID] | None = None) -> Iterable[Entry]:
        for customer, revision, voice in voiceprints.gallery_rows(self.fingerprint, after=after, customers=owners):
            yield Entry(customer.pk, customer.customer_id, revision, voice.vector, voice.speech_seconds)


of_model = gallery.Current(Gallery).of_model
