"""The gallery of all enrolled customers' voiceprints under one model: an index that a machine's workers share.

The index (``mltraining.index``) is a file in memory: it is read by every scoring process of the machine, and written by
one of them at a time. It follows the database by a log of changes, which triggers keep (``migrations/0001_initial``).
Each search first asks for what is new in the log, and so is as fresh as the database; a thread of each process asks
twice a second, so that a search seldom has anything to write. Whom a search found is looked up in the database before
they are named: an erased customer is never found, whatever the index holds. Worker-side only.

The log is read by snapshot. A reader asks for all changes by transactions from ``Index.applied`` on, which is the
oldest one that was still open when the log was last read. So a transaction that commits late is not missed, and some
changes are looked at twice.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from enrollment import keys
from enrollment.models import Customer, Voiceprint
from mltraining import registry
from mltraining.index import FULL, Index, IndexFull, Rows
from mltraining.messages import Nearest
from mltraining.recordings import Voice
from mltraining.scorer import LoadedModel
from voiceauth.platform.errors import ScoringUnavailable

if TYPE_CHECKING:
    from mltraining.speech.scoring.cohort import Cohort, Statistics

logger = logging.getLogger(__name__)

BATCH = 2000  # voiceprints that are read and unsealed at once
SAMPLE = 10_000  # voiceprints that an index's rotation is fitted to
AT_ONCE = 20_000  # a search makes the index itself where there are no more voiceprints; else it is made in background
LOCK_SECONDS = 1.0  # that a search waits for another process that writes
KEEP_CHANGES_SECONDS = 3600.0  # a process that has not read the log for longer makes its index anew
MOVE_SECONDS = 60.0
IN_USE = "users"
NEVER = 2**62  # no transaction has this number yet
ROUNDING = 1e-3  # of a log-likelihood ratio in float32


class Changes(NamedTuple):
    """What the log holds, as of one snapshot."""

    horizon: int  # every transaction before it has ended, and its changes are in this snapshot or in an earlier one
    forgotten: int  # changes of transactions up to it may be missing in the log
    server: str  # changes when PostgreSQL starts, another server takes over, or a backup is restored: rows may be lost
    numbers: set[int]  # of the log's rows
    voiceprints: list[int]  # that changed

    @classmethod
    def read(cls, model_fingerprint: str, since: int) -> "Changes":
        """Read the changes by transactions from ``since`` on. It costs one query."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT pg_snapshot_xmin(pg_current_snapshot())::text, pg_snapshot_xmax(pg_current_snapshot())::text,
                       (SELECT up_to::text FROM enrollment_forgottenchanges),
                       (SELECT oid FROM pg_database WHERE datname = current_database())
                           || pg_postmaster_start_time()::text,
                       array_agg(id), array_agg(voiceprint_id)
                FROM enrollment_voiceprintchange WHERE model_fingerprint = %s AND changed_by >= %s::text::xid8
                """,
                [model_fingerprint, str(since)],
            )
            horizon, newest, forgotten, server, numbers, voiceprints = cursor.fetchone()
        # After a restored backup the tables may name transactions that the new server has not come to yet.
        past = 0 if int(forgotten) >= int(newest) else int(forgotten)
        return cls(int(horizon), past, server, set(numbers or ()), voiceprints or [])


class Gallery:
    """The voiceprints of everybody who is enrolled, named by the bank's identifier. Safe between threads."""

    def __init__(self, model_fingerprint: str, dimensions: int, cohort: "Cohort | None" = None) -> None:
        self.model_fingerprint = model_fingerprint
        self.dimensions = dimensions
        self.cohort = cohort
        self._index: Index | None = None
        self._server = ""
        self._seen: set[int] = set()  # numbers of changes that are in the index
        self._moved = time.monotonic()  # when the horizon last did
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

    def nearest(self, voice: Voice, *, limit: int, names: Collection[str] | None = None) -> list[Nearest]:
        """Find the ``limit`` likeliest voices, the best first and equals by name. ``names`` narrows the search.

        The numbers are those that a verification of the same pair gives. Raises ``ScoringUnavailable`` while the index
        of a large gallery is being made.
        """
        for _ in range(3):  # who changes meanwhile is looked for again
            index = self.current()
            at = _likely(index, voice, limit, self.cohort) if names is None else self._named(index, names)
            best = _best(index, voice, at, limit, self.cohort)
            rows = index.rows(best)
            known = self._names(rows)
            if all(known):
                break
        found = [
            voice.compare_one(name, vector, float(seconds))
            for name, vector, seconds in zip(known, rows.vectors, rows.speech_seconds, strict=True)
            if name
        ]
        return sorted(found, key=lambda each: (-each.log_likelihood_ratio, each.name))

    def current(self, *, patient: bool = False) -> Index:
        """Return the index as the database is now.

        Raises ``ScoringUnavailable`` where that takes too long for a search; ``patient`` takes as long as it takes.
        """
        if not self._lock.acquire(timeout=-1 if patient else LOCK_SECONDS):
            raise ScoringUnavailable(retry_after_seconds=2)
        try:
            return self._follow(patient)
        except OSError as error:
            logger.error("the index of voiceprints cannot be kept in %s: %s", settings.VOICEAUTH_GALLERY_DIR, error)
            raise ScoringUnavailable(retry_after_seconds=30) from error
        finally:
            self._lock.release()

    def _follow(self, patient: bool) -> Index:
        index = self._map()
        changes = Changes.read(self.model_fingerprint, index.applied if index is not None else NEVER)
        if index is not None and changes.server == self._server and index.applied > changes.forgotten:
            # From time to time the horizon moves on, or else the log would be forgotten behind it.
            rests = patient and (changes.numbers or time.monotonic() > self._moved + MOVE_SECONDS)
            if changes.numbers <= self._seen and not (rests and changes.horizon > index.applied):
                self._seen = changes.numbers
                return index
        self._server = changes.server
        with self._alone(patient):
            self._write(patient)
        self._moved = time.monotonic()
        index = self._map()
        assert index is not None
        return index

    def _voiceprints(self) -> "QuerySet[Voiceprint]":
        enrolled = Voiceprint.objects.filter(customer__state=Customer.State.ENROLLED)
        return enrolled.filter(model_fingerprint=self.model_fingerprint)

    def _named(self, index: Index, names: Collection[str]) -> np.ndarray:
        """Return the rows of some customers. Nothing else is read."""
        ids = self._voiceprints().filter(customer__customer_id__in=list(names)).values_list("pk", flat=True)
        return index.find(np.array(list(ids), dtype=np.int64))

    def _names(self, rows: Rows) -> list[str]:
        """Return whose voiceprints the rows are, "" for one that the database does not have any more."""
        found = self._voiceprints().filter(pk__in=rows.ids.tolist())
        known = {
            (pk, revision): name for pk, revision, name in found.values_list("pk", "revision", "customer__customer_id")
        }
        return [known.get(each, "") for each in zip(rows.ids.tolist(), rows.revisions.tolist(), strict=True)]

    # --- the file ---------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file: another one for another model, cohort or start of PostgreSQL."""
        cohort = b"" if self.cohort is None else self.cohort.means.tobytes()
        words = (self.model_fingerprint, str(self.dimensions), hashlib.sha256(cohort).hexdigest(), self._server)
        return (
            folder()
            / f"{_prefix(self.model_fingerprint)}{hashlib.sha256(':'.join(words).encode()).hexdigest()[:32]}.index"
        )

    def _map(self) -> Index | None:
        """Map the file, anew where it has been replaced; ``None`` where there is none."""
        _use()
        try:
            if self._index is None or self._index.inode != self.path.stat().st_ino:
                self._index, self._seen = Index(self.path), set()
        except FileNotFoundError:
            self._index = None
        return self._index

    @contextmanager
    def _alone(self, patient: bool) -> Iterator[None]:
        """Hold the lock of whoever writes, in this process or another one. Raises ``ScoringUnavailable``."""
        with self.path.with_suffix(".lock").open("w") as file:
            ends = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not patient and time.monotonic() > ends:
                        raise ScoringUnavailable(retry_after_seconds=2) from None
                    time.sleep(0.01)
            yield

    def _write(self, patient: bool) -> None:
        """Bring the file to the state of the database. Another process may have done so meanwhile."""
        writer = Index(self.path, writable=True) if self.path.exists() else None
        changes = Changes.read(self.model_fingerprint, writer.applied if writer is not None else NEVER)
        if writer is not None and writer.applied > changes.forgotten:
            self._apply(writer, changes)
        else:
            if not patient and self._voiceprints()[AT_ONCE : AT_ONCE + 1].exists():
                raise ScoringUnavailable(retry_after_seconds=10)
            started, count = time.monotonic(), self._voiceprints().count()
            self._replace(self._read(self._voiceprints()), count, changes.horizon)
            logger.info("%d voiceprints are indexed after %.1f s", count, time.monotonic() - started)
        self._map()
        self._seen = changes.numbers

    def _replace(self, batches: Iterator[Rows], count: int, horizon: int) -> None:
        """Write rows into a new file, and put it in the place of the old one."""
        draft = self.path.with_suffix(".draft")
        first = list(islice(batches, max(1, SAMPLE // BATCH)))
        sample = np.concatenate([each.vectors for each in first]) if first else np.zeros((0, self.dimensions))
        new = Index.create(
            draft, dimensions=self.dimensions, capacity=2 * count + BATCH, sample=sample, applied=horizon
        )
        for rows in chain(first, batches):
            new.append(rows)
        os.replace(draft, self.path)

    def _apply(self, writer: Index, changes: Changes) -> None:
        """Write what has changed behind the other rows, and overwrite what it replaces."""
        for first in range(0, len(changes.voiceprints), BATCH):
            ids = np.unique(changes.voiceprints[first : first + BATCH])
            wanted = dict(self._voiceprints().filter(pk__in=ids.tolist()).values_list("pk", "revision"))
            at = writer.find(ids)
            fresh = wanted.items() - set(zip(writer.ids[at].tolist(), writer.revisions[at].tolist(), strict=True))
            for rows in self._read(self._voiceprints().filter(pk__in=[pk for pk, _ in fresh])) if fresh else ():
                try:
                    writer.append(rows)
                except IndexFull:
                    writer = self._again(writer)
                    writer.append(rows)
            # Looked for again: the rows lie elsewhere in a file that was written anew.
            at = writer.find(ids)
            have = zip(writer.ids[at].tolist(), writer.revisions[at].tolist(), strict=True)
            writer.remove(at[np.array([wanted.get(pk) != revision for pk, revision in have], dtype=bool)])
        writer.applied = changes.horizon
        if writer.worn:
            self._again(writer)

    def _again(self, writer: Index) -> Index:
        """Write the rows that are not gone into a new file, which has room for as many again."""
        self._replace(writer.live(), len(writer), writer.applied)
        return Index(self.path, writable=True)

    def _read(self, voiceprints: "QuerySet[Voiceprint]") -> Iterator[Rows]:
        """Read and unseal voiceprints, by ascending ids."""
        found = iter(voiceprints.select_related("customer").order_by("pk").iterator(chunk_size=BATCH))
        while batch := list(islice(found, BATCH)):
            vectors = np.stack(
                [keys.unseal_voiceprint(each.customer, self.model_fingerprint, each.content) for each in batch]
            )
            nothing = np.zeros(len(batch))
            means, deviations = (nothing, nothing) if self.cohort is None else self.cohort.statistics(vectors)
            yield Rows(
                np.array([each.pk for each in batch], dtype=np.int64),
                np.array([each.revision for each in batch], dtype=np.int64),
                vectors,
                np.array([each.speech_seconds for each in batch]),
                means,
                deviations,
            )


def _statistics(index: Index, at: "np.ndarray | slice", cohort: "Cohort | None") -> "Statistics | None":
    return None if cohort is None else (index.cohort_means[at], index.cohort_deviations[at])


def _likely(index: Index, voice: Voice, limit: int, cohort: "Cohort | None") -> np.ndarray:
    """Return rows among which the ``limit`` likeliest are, by the bounds of their cosines."""
    count = index.count
    if count <= FULL:
        return index.everywhere(count)
    slope, offset = voice.bound(_statistics(index, slice(count), cohort))
    if np.isscalar(slope) and slope == 0:
        return index.everywhere(count)
    upper = index.bounds(voice.vector, count)
    upper *= slope
    upper += offset
    # First some hundreds with the highest bounds. The likeliest of them say what the others must reach.
    step = max(1, count // 8192)
    sample = upper[::step]
    wanted = min(len(sample), limit + 2 * (256 + 16 * limit) // step)
    first = np.flatnonzero(upper >= np.partition(sample, -wanted)[-wanted])
    first = first[np.isfinite(upper[first])]
    if len(first) <= limit:
        return index.everywhere(count)
    ratios = _ratios(index, voice, first, cohort)
    reached = np.partition(ratios, -limit)[-limit]
    return np.flatnonzero(upper >= reached - ROUNDING)


def _best(index: Index, voice: Voice, at: np.ndarray, limit: int, cohort: "Cohort | None") -> np.ndarray:
    """Return the ``limit`` likeliest of some rows."""
    if len(at) <= limit:
        return at
    return at[np.argpartition(-_ratios(index, voice, at, cohort), limit - 1)[:limit]]


def _ratios(index: Index, voice: Voice, at: np.ndarray, cohort: "Cohort | None") -> np.ndarray:
    compared = voice.compare(index.vectors[at], index.speech_seconds[at], _statistics(index, at, cohort))
    return compared.log_likelihood_ratio


# --- of this process and this machine -------------------------------------------------------------

_galleries: dict[str, Gallery] = {}
_used: tuple[Path, IO[str]] | None = None  # the folder, and a file in it that is locked while this process lives
_lock = threading.Lock()


def folder() -> Path:
    """Return the folder of the indexes, which nobody else may read. Raises ``OSError``."""
    path = Path(settings.VOICEAUTH_GALLERY_DIR)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} must belong to the service alone (mode 0700)")
    return path


def _use() -> None:
    """Mark the folder as used by this process."""
    global _used
    if _used is None or _used[0] != folder():
        file = (folder() / IN_USE).open("w")
        fcntl.flock(file, fcntl.LOCK_SH)
        _used = folder(), file


def remove() -> None:
    """Remove the indexes where no process uses them any more: when the last worker of the machine ends."""
    with suppress(OSError), (folder() / IN_USE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder())


def _prefix(model_fingerprint: str) -> str:
    return f"{model_fingerprint[:16]}-"


def of_model(model: LoadedModel) -> Gallery:
    """Return the gallery of ``model`` in this process."""
    with _lock:
        cohort = model.pipeline.cohort
        gallery = _galleries.get(model.fingerprint)
        if gallery is None or gallery.cohort is not cohort:
            gallery = _galleries[model.fingerprint] = Gallery(model.fingerprint, model.pipeline.dimensions, cohort)
        return gallery


def keep(models: Collection[LoadedModel]) -> None:
    """Follow the database for the models in service, and let the indexes of other models go."""
    serving = set(registry.model_fingerprints_in_service())
    kept = [of_model(each) for each in models if each.fingerprint in serving]
    for gallery in kept:
        gallery.current(patient=True)
    with _lock:
        for fingerprint in _galleries.keys() - serving:
            del _galleries[fingerprint]
    own = {each.path.stem for each in kept}
    others = serving - {each.model_fingerprint for each in kept}  # that another process may hold already
    for path in folder().glob("*-*.*"):
        # Of a former model, or of the time before PostgreSQL was restarted, or the draft of a process that was killed.
        if path.stem not in own and not any(path.name.startswith(_prefix(each)) for each in others):
            path.unlink(missing_ok=True)


def forget_changes() -> None:
    """Delete what every process has read of the log long ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM enrollment_voiceprintchange
                WHERE changed_at < now() - make_interval(secs => %s)
                    AND changed_by < pg_snapshot_xmin(pg_current_snapshot())
                RETURNING changed_by
            )
            UPDATE enrollment_forgottenchanges
            SET up_to = greatest(up_to, (SELECT changed_by FROM gone ORDER BY changed_by DESC LIMIT 1))
            """,
            [KEEP_CHANGES_SECONDS],
        )
