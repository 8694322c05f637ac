"""The gallery: all enrolled customers' voiceprints under one model as a matrix in a scoring worker's memory.

Each search first asks the database whether anything has changed (one aggregate), and then reads only what
is newer; where that does not account for the change (a voiceprint erased, a customer locked, a transaction
that committed late) it compares all revisions. So what is erased is gone with the next search.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from enrollment import voiceprints
from mltraining.speech.scoring import Cohort, Statistics

if TYPE_CHECKING:
    from mltraining.speech.pipeline import Comparison

# Voiceprints (n, d), their net speech (n,) in seconds, their cohort statistics -> one call against each of them.
Compare = Callable[[np.ndarray, np.ndarray, Statistics | None], "Comparison"]


@dataclass(frozen=True)
class Match:
    """One customer and how the call compares with their voiceprint; the ratio is in natural logarithm."""

    customer_id: str
    score: float
    log_likelihood_ratio: float
    probability: float


class Gallery:
    """Exact search: one matrix product. Safe between threads. Every vector is of one model, by construction.

    What the model's ``cohort`` says of a voiceprint is worked out once, when it is taken in.
    """

    def __init__(self, fingerprint: str, dimensions: int, cohort: Cohort | None = None) -> None:
        self.fingerprint = fingerprint
        self.cohort = cohort
        # Row i is one customer's. The arrays grow by doubling; the lists are as long as there are customers.
        self._vectors = np.zeros((16, dimensions), dtype=np.float32)
        self._measures = np.zeros((16, 3))  # net speech in seconds; mean and deviation of the cosines to the cohort
        self._revisions = np.zeros(16, dtype=np.int64)
        self._customers: list[UUID] = []
        self._names: list[str] = []  # the bank's identifiers
        self._rows: dict[UUID, int] = {}
        self._rows_by_name: dict[str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._customers)

    def search(self, compare: Compare, *, candidates: Collection[str] | None, limit: int) -> list[Match]:
        """The ``limit`` likeliest, the best first; equals by identifier.

        ``candidates`` narrows the search; who is not enrolled is left out.
        """
        with self._lock:
            self._refresh()
            if candidates is None:
                rows, vectors = np.arange(len(self)), self._vectors[: len(self)]  # a view: the matrix is not copied
                measures = self._measures[: len(self)]
            else:
                known = {self._rows_by_name[name] for name in candidates if name in self._rows_by_name}
                rows = np.array(sorted(known), dtype=int)
                vectors, measures = self._vectors[rows], self._measures[rows]
            seconds, mean, deviation = measures.T
            found = compare(vectors, seconds, None if self.cohort is None else (mean, deviation))
            numbers = np.stack([found.score, found.log_likelihood_ratio, found.probability], axis=1)
            if limit < len(rows):
                best = np.argpartition(-found.log_likelihood_ratio, limit - 1)[:limit]
                rows, numbers = rows[best], numbers[best]
            matches = [Match(self._names[row], *each) for row, each in zip(rows, numbers.tolist(), strict=True)]
        return sorted(matches, key=lambda each: (-each.log_likelihood_ratio, each.customer_id))

    def _refresh(self) -> None:
        state = voiceprints.gallery_state(self.fingerprint)
        if self._state() == state:
            return
        self._take(voiceprints.gallery_rows(self.fingerprint, after=self._state().newest))
        if self._state() != state:
            current = voiceprints.gallery_revisions(self.fingerprint)
            for customer in [each for each in self._customers if each not in current]:
                self._drop(customer)
            have = {customer: int(self._revisions[row]) for customer, row in self._rows.items()}
            changed = [customer for customer, revision in current.items() if have.get(customer) != revision]
            if changed:
                self._take(voiceprints.gallery_rows(self.fingerprint, customers=changed))
        self._rows_by_name = {name: row for row, name in enumerate(self._names)}

    def _state(self) -> voiceprints.GalleryState:
        revisions = self._revisions[: len(self)]
        return voiceprints.GalleryState(len(self), int(revisions.max(initial=0)), int(revisions.sum()))

    def _take(self, voiceprint_rows: voiceprints.GalleryRows) -> None:
        taken = []
        for customer, revision, voice in voiceprint_rows:
            row = self._rows.setdefault(customer.pk, len(self))
            if row == len(self):
                self._customers.append(customer.pk)
                self._names.append(customer.customer_id)
                if row == len(self._vectors):
                    self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
                    self._revisions = np.concatenate([self._revisions, np.zeros_like(self._revisions)])
                    self._measures = np.concatenate([self._measures, np.zeros_like(self._measures)])
            self._vectors[row], self._revisions[row] = voice.vector, revision
            self._measures[row, 0] = voice.speech_seconds
            taken.append(row)
        if self.cohort is not None and taken:
            self._measures[taken, 1], self._measures[taken, 2] = self.cohort.statistics(self._vectors[taken])

    def _drop(self, customer: UUID) -> None:
        """The last row takes the place of the one that goes, whose vector is overwritten."""
        row, last = self._rows.pop(customer), len(self) - 1
        if row != last:
            self._customers[row], self._names[row] = self._customers[last], self._names[last]
            self._vectors[row], self._revisions[row] = self._vectors[last], self._revisions[last]
            self._measures[row] = self._measures[last]
            self._rows[self._customers[row]] = row
        self._customers.pop()
        self._names.pop()
        self._vectors[last], self._revisions[last], self._measures[last] = 0, 0, 0


_current: Gallery | None = None
_current_lock = threading.Lock()


def of_model(fingerprint: str, dimensions: int, cohort: Cohort | None) -> Gallery:
    """This process's gallery of one model; that of another model is let go."""
    global _current
    with _current_lock:
        if _current is None or _current.fingerprint != fingerprint:
            _current = Gallery(fingerprint, dimensions, cohort)
        return _current
