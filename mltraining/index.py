"""An exact nearest-neighbour index over many voiceprints: one file in memory, which all processes of a machine map.

A search reads a small part of the file. Voiceprints are rotated so that their first ``CODED`` dimensions hold most of
what tells them apart, and these are kept as int8 codes, which simsimd scans. The codes bound each cosine from above:
by Cauchy-Schwarz, the rest of a voiceprint adds at most the product of the lengths of the two rests, and the rounding
of the codes is bounded as well. Whatever may be among the best by its bound is compared in full. So the result is that
of the full product, however well the rotation fits.

A row is written once. A voiceprint that changes gets another row, and the former row is overwritten with zeros. So a
process that reads while another one writes sees each row whole, or finds it gone when it asks the database. Writers
take turns (``enrollment.gallery``). This module knows neither the database nor people: a row has the ``id`` and the
``revision`` of what it was made of.
"""

import mmap
import os
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import simsimd

CODED = 96  # dimensions: more are slower to scan, fewer leave more voiceprints to compare in full
BLOCK = 65_536  # rows whose bounds are computed at once, so that these stay in the processor's cache
FULL = 4096  # rows that are all compared in full: bounds would not pay
FITTED = 1000  # voiceprints that a rotation is fitted to at the least
MARGIN = 1e-4  # added to each bound, because float32 rounds
ALLOCATED = 1024  # rows that the memory is allocated for at once
HEADER_BYTES = 4096
FORMAT = 0x76_6F_69_63_65_31  # the first number of a file
GONE = -np.inf  # in place of the length of the rest of a row that is gone: nothing is below its bound


class Rows(NamedTuple):
    """Voiceprints, one in each row: unit vectors (n, d) float32, net speech (n,) in seconds, cohort statistics."""

    ids: np.ndarray
    revisions: np.ndarray
    vectors: np.ndarray
    speech_seconds: np.ndarray
    cohort_means: np.ndarray
    cohort_deviations: np.ndarray


class IndexFull(Exception):
    """There are more rows than the file has places for."""


class _Header(IntEnum):
    """Where each number stands in the first page."""

    FORMAT = 0
    DIMENSIONS = 1
    CAPACITY = 2
    COUNT = 3  # rows that have been written, with those that are gone
    GONE = 4  # rows that are gone
    SORTED = 5  # the ids of so many rows, from the first, ascend
    APPLIED = 6  # see ``Index.applied``
    ALLOCATED = 7  # rows that have memory


class Index:
    """The file, mapped. Only one process at a time may write; any number may read meanwhile."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Map an existing file. Raises ``OSError`` where there is none, ``ValueError`` where it is something else."""
        with path.open("r+b" if writable else "rb") as file:
            self.inode = os.fstat(file.fileno()).st_ino
            self._descriptor = os.dup(file.fileno()) if writable else -1
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._memory = mmap.mmap(file.fileno(), 0, access=access)
        self._header = np.frombuffer(self._memory, dtype=np.int64, count=16)
        if self._header[_Header.FORMAT] != FORMAT:
            raise ValueError(f"{path.name} is no index of voiceprints")
        self.dimensions, self.capacity = int(self._header[_Header.DIMENSIONS]), int(self._header[_Header.CAPACITY])
        self._places = {name: (start, width) for name, start, width in _layout(self.dimensions, self.capacity)}
        coded = min(CODED, self.dimensions)
        self._rotation = self._column("rotation", np.float32, self.dimensions, rows=coded)
        self._codes = self._column("codes", np.int8, coded)
        self._scales = self._column("scales", np.float32)
        self._errors = self._column("errors", np.float32)
        self._rests = self._column("rests", np.float32)
        self.vectors = self._column("vectors", np.float32, self.dimensions)
        self.ids = self._column("ids", np.int64)
        self.revisions = self._column("revisions", np.int64)
        self.speech_seconds = self._column("speech_seconds", np.float64)
        self.cohort_means = self._column("cohort_means", np.float64)
        self.cohort_deviations = self._column("cohort_deviations", np.float64)

    @classmethod
    def create(cls, path: Path, *, dimensions: int, capacity: int, sample: np.ndarray, applied: int = 0) -> Self:
        """Make an empty file in place of an earlier one, and map it for writing. The rotation fits ``sample`` (k, d).

        Memory is taken as rows come. Raises ``OSError`` where there is none left.
        """
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            *_, (_, start, width) = _layout(dimensions, capacity)
            os.ftruncate(descriptor, start + width * capacity)
            os.posix_fallocate(descriptor, 0, HEADER_BYTES + CODED * dimensions * 4)
            first = np.zeros(16, dtype=np.int64)
            first[_Header.FORMAT], first[_Header.DIMENSIONS], first[_Header.CAPACITY] = FORMAT, dimensions, capacity
            first[_Header.APPLIED] = applied
            os.pwrite(descriptor, first.tobytes(), 0)
        finally:
            os.close(descriptor)
        index = cls(path, writable=True)
        index._rotation[:] = _rotation(sample.reshape(-1, dimensions))[: len(index._rotation)]
        return index

    def __del__(self) -> None:
        """Let a writer's file go; the memory goes with the last array that shows it."""
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def _column(self, name: str, dtype: type, width: int = 0, *, rows: int | None = None) -> np.ndarray:
        start, _ = self._places[name]
        rows = self.capacity if rows is None else rows
        flat: np.ndarray = np.frombuffer(self._memory, dtype=dtype, count=rows * max(1, width), offset=start)
        return flat.reshape(rows, width) if width else flat

    @property
    def count(self) -> int:
        """How many rows have been written. Those that are gone are counted, too."""
        return int(self._header[_Header.COUNT])

    def __len__(self) -> int:
        return self.count - int(self._header[_Header.GONE])

    @property
    def applied(self) -> int:
        """A number that the writers keep here: up to where they have read the changes of the database."""
        return int(self._header[_Header.APPLIED])

    @applied.setter
    def applied(self, value: int) -> None:
        self._header[_Header.APPLIED] = value

    @property
    def worn(self) -> bool:
        """Whether so many rows are gone that the file should be written anew."""
        return int(self._header[_Header.GONE]) > ALLOCATED + self.count // 4

    def append(self, rows: Rows) -> None:
        """Write rows behind the others. Raises ``IndexFull``, and ``OSError`` where there is no memory left."""
        first, last = self.count, self.count + len(rows.ids)
        if last > self.capacity:
            raise IndexFull
        self._allocate(last)
        here = slice(first, last)
        rotated = rows.vectors @ self._rotation.T
        scales = np.maximum(np.abs(rotated).max(axis=1), 1e-12) / 127
        codes = np.rint(rotated / scales[:, None])
        self._codes[here], self._scales[here] = codes, scales
        self._errors[here] = np.linalg.norm(rotated - scales[:, None] * codes, axis=1)
        self._rests[here] = _rest(rows.vectors, rotated)
        self.vectors[here], self.ids[here], self.revisions[here] = rows.vectors, rows.ids, rows.revisions
        self.speech_seconds[here] = rows.speech_seconds
        self.cohort_means[here], self.cohort_deviations[here] = rows.cohort_means, rows.cohort_deviations
        ascends = first == 0 or (self._header[_Header.SORTED] == first and rows.ids[0] > self.ids[first - 1])
        if ascends and (np.diff(rows.ids) > 0).all():
            self._header[_Header.SORTED] = last
        self._header[_Header.COUNT] = last  # last: from here on readers see the rows

    def remove(self, rows: np.ndarray) -> None:
        """Overwrite rows with zeros, but for their ids: the voiceprints are in no memory any more."""
        rows = rows[self._rests[rows] > GONE]
        self._rests[rows] = GONE
        for column in (self._codes, self._scales, self._errors, self.vectors, self.revisions, self.speech_seconds):
            column[rows] = 0
        self.cohort_means[rows], self.cohort_deviations[rows] = 0, 1
        self._header[_Header.GONE] += len(rows)

    def live(self) -> Iterator[Rows]:
        """Yield the rows that are not gone, some thousands at a time."""
        for first in range(0, self.count, BLOCK):
            block = np.arange(first, min(first + BLOCK, self.count))
            yield self.rows(block[self._rests[block] > GONE])

    def rows(self, at: np.ndarray) -> Rows:
        """Copy some rows."""
        return Rows(
            self.ids[at],
            self.revisions[at],
            self.vectors[at],
            self.speech_seconds[at],
            self.cohort_means[at],
            self.cohort_deviations[at],
        )

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows (k,) of some of the ``ids``: those that are there and not gone."""
        count, ascending = self.count, int(self._header[_Header.SORTED])
        ids = np.unique(ids)
        at = np.searchsorted(self.ids[:ascending], ids)
        inside = at < ascending
        found = at[inside][self.ids[at[inside]] == ids[inside]]
        later = ascending + np.flatnonzero(np.isin(self.ids[ascending:count], ids))
        rows = np.concatenate([found, later])
        return rows[self._rests[rows] > GONE]

    def everywhere(self, count: int) -> np.ndarray:
        """Return those of the first ``count`` rows that are not gone."""
        return np.flatnonzero(self._rests[:count] > GONE)

    def bounds(self, vector: np.ndarray, count: int) -> np.ndarray:
        """Return what no cosine of ``vector`` (d,) to the first ``count`` rows exceeds: (count,) float32.

        It is ``-inf`` for a row that is gone.
        """
        head = self._rotation @ vector
        scale = np.maximum(np.abs(head).max(), 1e-12) / 127
        code = np.rint(head / scale)
        # What the codes leave out of the cosine: the rounding of the voiceprint, that of the call, and the two rests.
        length, off = np.linalg.norm(head), np.linalg.norm(head - scale * code) * 1.01 + MARGIN
        rest = np.maximum(_rest(vector[None], head[None])[0], 1e-6)
        code, upper = code.astype(np.int8)[None], np.empty(count, dtype=np.float32)
        for first in range(0, count, BLOCK):
            here = slice(first, min(first + BLOCK, count))
            found = upper[here]
            found[:] = np.asarray(simsimd.cdist(code, self._codes[here], metric="inner"))[0]
            found *= self._scales[here]
            found *= scale
            found += length * self._errors[here]
            found += rest * self._rests[here]
            found += off
        return upper

    def _allocate(self, rows: int) -> None:
        """Take the memory for so many rows now: a page that is missing later would kill the process that writes."""
        have = int(self._header[_Header.ALLOCATED])
        if rows <= have:
            return
        wanted = min(self.capacity, max(rows, have + ALLOCATED, have + have // 16))
        for name, (start, width) in self._places.items():
            if name != "rotation":
                os.posix_fallocate(self._descriptor, start + have * width, (wanted - have) * width)
        self._header[_Header.ALLOCATED] = wanted


def _layout(dimensions: int, capacity: int) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each column, where it begins, and its bytes a row."""
    start, coded = HEADER_BYTES, min(CODED, dimensions)
    for name, width, rows in (
        ("rotation", 4 * dimensions, coded),
        ("codes", coded, capacity),
        ("scales", 4, capacity),
        ("errors", 4, capacity),
        ("rests", 4, capacity),
        ("vectors", 4 * dimensions, capacity),
        ("ids", 8, capacity),
        ("revisions", 8, capacity),
        ("speech_seconds", 8, capacity),
        ("cohort_means", 8, capacity),
        ("cohort_deviations", 8, capacity),
    ):
        yield name, start, width
        start += -(-width * rows // HEADER_BYTES) * HEADER_BYTES


def _rotation(sample: np.ndarray) -> np.ndarray:
    """Return orthonormal rows (d, d): the directions of ``sample`` (k, d) in which it is largest come first.

    Those of a few voiceprints would be voiceprints, which an erasure would leave behind.
    """
    if len(sample) < FITTED:
        return np.eye(sample.shape[1], dtype=np.float32)
    _, directions = np.linalg.eigh(sample.T.astype(np.float64) @ sample.astype(np.float64))
    return np.ascontiguousarray(directions[:, ::-1].T, dtype=np.float32)


def _rest(vectors: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Return the length (n,) of what ``heads`` (n, CODED) leave out of ``vectors`` (n, d)."""
    whole, coded = (np.square(each, dtype=np.float64).sum(axis=1) for each in (vectors, heads))
    return np.sqrt(np.maximum(whole - coded, 0)).astype(np.float32)
