"""A gallery: voices under one model, as a matrix in a scoring worker's memory that follows the database.

A search asks the database whether anything has changed (one aggregate), unless that was asked within the last
``FRESH_SECONDS``. Then it reads only what is new; where that does not account for the change (a voice erased, a
transaction that committed very late) it compares all revisions. Worker-side only.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from django.db.models import Count, Max, QuerySet, Sum

from mltraining.messages import Nearest
from mltraining.scorer import LoadedModel

if TYPE_CHECKING:
    from mltraining.speech.scoring.cohort import Cohort, Statistics
    from mltraining.speech.scoring.pipeline import Comparison

FRESH_SECONDS = 0.5  # for which what was read counts as fresh
LATE = 200  # revisions that may have been taken before the newest one that was read, and committed after it
BATCH = 1000  # voices that are read at once

# Voiceprints (n, d), their net speech (n,) in seconds, their cohort statistics -> one call against each of them.
Compare = Callable[[np.ndarray, np.ndarray, "Statistics | None"], "Comparison"]


class Entry(NamedTuple):
    """A voice: whose it is, the name in an answer, the revision, a unit vector (d,), and net speech in seconds."""

    owner: UUID
    name: str
    revision: int
    vector: np.ndarray
    speech_seconds: float


@dataclass(frozen=True)
class GalleryState:
    """Identifies one state of a gallery: every write of a voice takes a new revision.

    The largest revision alone is not enough, because a transaction with a smaller one may commit later.
    """

    count: int
    newest: int
    revisions: int  # their sum

    @classmethod
    def of(cls, rows: "QuerySet[Any]") -> "GalleryState":
        """Compute the state of rows with a ``revision``."""
        found = rows.aggregate(count=Count("*"), newest=Max("revision"), revisions=Sum("revision"))
        return cls(found["count"], found["newest"] or 0, int(found["revisions"] or 0))


class Gallery(ABC):
    """Exact search: one matrix product. Safe between threads. Every vector is of one model, by construction.

    What the model's ``cohort`` says of a voice is worked out once, when it is taken in.
    """

    OWNER: ClassVar[str]  # the column of ``rows`` that says whose voice it is

    def __init__(self, model_fingerprint: str, dimensions: int, cohort: "Cohort | None" = None) -> None:
        self.model_fingerprint = model_fingerprint
        self.cohort = cohort
        # Row i is one owner's. The arrays grow by doubling; the lists are as long as there are owners.
        self._vectors = np.zeros((16, dimensions), dtype=np.float32)
        self._measures = np.zeros((16, 3))  # net speech in seconds; mean and deviation of the cosines to the cohort
        self._revisions = np.zeros(16, dtype=np.int64)
        self._owners: list[UUID] = []
        self._names: list[str] = []
        self._rows: dict[UUID, int] = {}
        self._stale_at = 0.0  # by ``time.monotonic``
        self._lock = threading.Lock()

    @abstractmethod
    def rows(self) -> "QuerySet[Any]":
        """Select all voices under the model. Each row has a ``revision``."""

    @abstractmethod
    def entry(self, row: Any) -> Entry:
        """Unseal the voice of one of the ``rows``."""

    def read_state(self) -> GalleryState:
        """Read the state of the database."""
        return GalleryState.of(self.rows())

    def read_revisions(self, *, after: int | None = None) -> dict[UUID, int]:
        """Read the revision of every owner's voice, or of those that are newer than ``after``."""
        rows = self.rows() if after is None else self.rows().filter(revision__gt=after)
        return dict(rows.values_list(self.OWNER, "revision"))

    def read_entries(self, owners: Collection[UUID]) -> Iterable[Entry]:
        """Read the voices of ``owners``."""
        return map(self.entry, self.rows().filter(**{f"{self.OWNER}__in": owners}))

    def __len__(self) -> int:
        return len(self._owners)

    def nearest(self, compare: Compare, *, limit: int, fresh: bool = False) -> list[Nearest]:
        """Find the ``limit`` likeliest voices, the best first and equals by name; ``fresh``: as of now."""
        with self._lock:
            if fresh or time.monotonic() >= self._stale_at:
                self._refresh()
                self._stale_at = time.monotonic() + FRESH_SECONDS
            rows, vectors = np.arange(len(self)), self._vectors[: len(self)]  # a view: the matrix is not copied
            seconds, mean, deviation = self._measures[: len(self)].T
            found = compare(vectors, seconds, None if self.cohort is None else (mean, deviation))
            numbers = np.stack([found.score, found.log_likelihood_ratio, found.probability], axis=1)
            if limit < len(rows):
                best = np.argpartition(-found.log_likelihood_ratio, limit - 1)[:limit]
                rows, numbers = rows[best], numbers[best]
            matches = [
                Nearest(name=self._names[row], score=score, log_likelihood_ratio=ratio, probability=probability)
                for row, (score, ratio, probability) in zip(rows, numbers.tolist(), strict=True)
            ]
        return sorted(matches, key=lambda each: (-each.log_likelihood_ratio, each.name))

    def _refresh(self) -> None:
        state = self.read_state()
        if self._state() == state:
            return
        self._take_changed(self.read_revisions(after=self._state().newest - LATE))
        if self._state() != state:
            current = self.read_revisions()
            for owner in [each for each in self._owners if each not in current]:
                self._drop(owner)
            self._take_changed(current)

    def _take_changed(self, revisions: dict[UUID, int]) -> None:
        have = {owner: int(self._revisions[row]) for owner in revisions if (row := self._rows.get(owner)) is not None}
        changed = iter([owner for owner, revision in revisions.items() if have.get(owner) != revision])
        while batch := list(islice(changed, BATCH)):
            self._take(self.read_entries(batch))

    def _state(self) -> GalleryState:
        revisions = self._revisions[: len(self)]
        return GalleryState(len(self), int(revisions.max(initial=0)), int(revisions.sum()))

    def _take(self, entries: Iterable[Entry]) -> None:
        taken = []
        for entry in entries:
            row = self._rows.setdefault(entry.owner, len(self))
            if row == len(self):
                self._owners.append(entry.owner)
                self._names.append(entry.name)
                if row == len(self._vectors):
                    self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
                    self._revisions = np.concatenate([self._revisions, np.zeros_like(self._revisions)])
                    self._measures = np.concatenate([self._measures, np.zeros_like(self._measures)])
            self._names[row] = entry.name
            self._vectors[row], self._revisions[row] = entry.vector, entry.revision
            self._measures[row, 0] = entry.speech_seconds
            taken.append(row)
        if self.cohort is not None and taken:
            self._measures[taken, 1], self._measures[taken, 2] = self.cohort.statistics(self._vectors[taken])

    def _drop(self, owner: UUID) -> None:
        """Move the last row to the place of the one that goes, and overwrite the last one's vector."""
        row, last = self._rows.pop(owner), len(self) - 1
        if row != last:
            self._owners[row], self._names[row] = self._owners[last], self._names[last]
            self._vectors[row], self._revisions[row] = self._vectors[last], self._revisions[last]
            self._measures[row] = self._measures[last]
            self._rows[self._owners[row]] = row
        self._owners.pop()
        self._names.pop()
        self._vectors[last], self._revisions[last], self._measures[last] = 0, 0, 0


G = TypeVar("G", bound=Gallery)


class Current(Generic[G]):
    """The gallery of one model in this process; that of an earlier model is dropped."""

    def __init__(self, kind: type[G]) -> None:
        self._kind = kind
        self._gallery: G | None = None
        self._lock = threading.Lock()

    def of_model(self, model: LoadedModel) -> G:
        """Return the gallery of ``model``. It is empty at first, and fills with the next search."""
        with self._lock:
            if self._gallery is None or self._gallery.model_fingerprint != model.fingerprint:
                self._gallery = self._kind(model.fingerprint, model.pipeline.dimensions, model.pipeline.cohort)
            return self._gallery
