"""A gallery: voices under one model as a matrix in a scoring worker's memory, which follows the database.

Each search first asks the database whether anything has changed (one aggregate), and then reads only what
is newer; where that does not account for the change (a voice erased, a customer locked, a transaction
that committed late) it compares all revisions. So what is erased is gone with the next search.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import Count, Max, QuerySet, Sum

from mltraining.speech.scoring.scores import Cohort, Statistics

if TYPE_CHECKING:
    from mltraining.speech.scoring.pipeline import Comparison

# Voiceprints (n, d), their net speech (n,) in seconds, their cohort statistics -> one call against each of them.
Compare = Callable[[np.ndarray, np.ndarray, Statistics | None], "Comparison"]

LOCK = 0x564F4943  # any constant of ours: one advisory lock for everything that is made anew by a promotion


def lock_gallery(*, shared: bool) -> None:
    """Holds the galleries until the transaction ends: shared by enrollments, alone by a promotion's switch.

    Whoever holds it shared and has read which model is active can rely on it until commit.
    """
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [LOCK])


class Entry(NamedTuple):
    """A voice: whose it is, how a match names them, the revision, a unit vector (d,) and its net speech in seconds."""

    owner: UUID
    name: str
    revision: int
    vector: np.ndarray
    speech_seconds: float


@dataclass(frozen=True)
class GalleryState:
    """What tells one state of a gallery from another: every write of a voice takes a new revision.

    The largest revision alone does not: a transaction with a smaller one may commit later.
    """

    count: int
    newest: int
    revisions: int  # their sum

    @classmethod
    def of(cls, rows: QuerySet) -> "GalleryState":
        """The state of rows with a ``revision``."""
        found = rows.aggregate(count=Count("*"), newest=Max("revision"), revisions=Sum("revision"))
        return cls(found["count"], found["newest"] or 0, int(found["revisions"] or 0))


@dataclass(frozen=True)
class Nearest:
    """One voice and how the call compares with it; the ratio is in natural logarithm."""

    name: str
    score: float
    log_likelihood_ratio: float
    probability: float


class Gallery(ABC):
    """Exact search: one matrix product. Safe between threads. Every vector is of one model, by construction.

    What the model's ``cohort`` says of a voice is worked out once, when it is taken in.
    """

    def __init__(self, fingerprint: str, dimensions: int, cohort: Cohort | None = None) -> None:
        self.fingerprint = fingerprint
        self.cohort = cohort
        # Row i is one owner's. The arrays grow by doubling; the lists are as long as there are owners.
        self._vectors = np.zeros((16, dimensions), dtype=np.float32)
        self._measures = np.zeros((16, 3))  # net speech in seconds; mean and deviation of the cosines to the cohort
        self._revisions = np.zeros(16, dtype=np.int64)
        self._owners: list[UUID] = []
        self._names: list[str] = []
        self._rows: dict[UUID, int] = {}
        self._rows_by_name: dict[str, int] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def read_state(self) -> GalleryState:
        """The state of the database."""

    @abstractmethod
    def read_revisions(self) -> dict[UUID, int]:
        """The revision of every owner's voice."""

    @abstractmethod
    def read_entries(self, *, after: int | None = None, owners: Collection[UUID] | None = None) -> Iterable[Entry]:
        """Those newer than the revision ``after``, or of ``owners``."""

    def __len__(self) -> int:
        return len(self._owners)

    def nearest(self, compare: Compare, *, limit: int, names: Collection[str] | None = None) -> list[Nearest]:
        """The ``limit`` likeliest, the best first; equals by name. ``names`` narrows the search."""
        with self._lock:
            self._refresh()
            if names is None:
                rows, vectors = np.arange(len(self)), self._vectors[: len(self)]  # a view: the matrix is not copied
                measures = self._measures[: len(self)]
            else:
                known = {self._rows_by_name[name] for name in names if name in self._rows_by_name}
                rows = np.array(sorted(known), dtype=int)
                vectors, measures = self._vectors[rows], self._measures[rows]
            seconds, mean, deviation = measures.T
            found = compare(vectors, seconds, None if self.cohort is None else (mean, deviation))
            numbers = np.stack([found.score, found.log_likelihood_ratio, found.probability], axis=1)
            if limit < len(rows):
                best = np.argpartition(-found.log_likelihood_ratio, limit - 1)[:limit]
                rows, numbers = rows[best], numbers[best]
            matches = [Nearest(self._names[row], *each) for row, each in zip(rows, numbers.tolist(), strict=True)]
        return sorted(matches, key=lambda each: (-each.log_likelihood_ratio, each.name))

    def _refresh(self) -> None:
        state = self.read_state()
        if self._state() == state:
            return
        self._take(self.read_entries(after=self._state().newest))
        if self._state() != state:
            current = self.read_revisions()
            for owner in [each for each in self._owners if each not in current]:
                self._drop(owner)
            have = {owner: int(self._revisions[row]) for owner, row in self._rows.items()}
            changed = [owner for owner, revision in current.items() if have.get(owner) != revision]
            if changed:
                self._take(self.read_entries(owners=changed))

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
            self._names[row], self._rows_by_name[entry.name] = entry.name, row
            self._vectors[row], self._revisions[row] = entry.vector, entry.revision
            self._measures[row, 0] = entry.speech_seconds
            taken.append(row)
        if self.cohort is not None and taken:
            self._measures[taken, 1], self._measures[taken, 2] = self.cohort.statistics(self._vectors[taken])

    def _drop(self, owner: UUID) -> None:
        """The last row takes the place of the one that goes, whose vector is overwritten."""
        row, last = self._rows.pop(owner), len(self) - 1
        if self._rows_by_name.get(self._names[row]) == row:  # else somebody else has been given the name
            del self._rows_by_name[self._names[row]]
        if row != last:
            if self._rows_by_name.get(self._names[last]) == last:
                self._rows_by_name[self._names[last]] = row
            self._owners[row], self._names[row] = self._owners[last], self._names[last]
            self._vectors[row], self._revisions[row] = self._vectors[last], self._revisions[last]
            self._measures[row] = self._measures[last]
            self._rows[self._owners[row]] = row
        self._owners.pop()
        self._names.pop()
        self._vectors[last], self._revisions[last], self._measures[last] = 0, 0, 0


G = TypeVar("G", bound=Gallery)


class Current(Generic[G]):
    """This process's gallery of one model; that of another model is let go."""

    def __init__(self, kind: type[G]) -> None:
        self._kind = kind
        self._gallery: G | None = None
        self._lock = threading.Lock()

    def of_model(self, fingerprint: str, dimensions: int, cohort: Cohort | None) -> G:
        with self._lock:
            if self._gallery is None or self._gallery.fingerprint != fingerprint:
                self._gallery = self._kind(fingerprint, dimensions, cohort)
            return self._gallery
