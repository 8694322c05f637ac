"""Acoustic fingerprints, used to detect replays: pairs of spectral peaks that are aligned in time.

The method is that of Wang, "An industrial-strength audio search algorithm", ISMIR 2003. A codec, a gain, noise or a cut
moves few of the strongest peaks of a spectrogram, and leaves the distances between them. A person who says the same
words again makes other peaks. Only speech is fingerprinted: a ringing tone, a beep or music is the same in every call
of a line. The fingerprint of a stored recording is its ``KEPT`` strongest pairs. A new recording is looked up with all
of its pairs.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

RATE = 8000
WINDOW, HOP = 512, 128  # samples: 64 ms every 16 ms
LOW, HIGH = 20, 212  # bins of 15.6 Hz: 312 to 3,312 Hz, what every telephone carries
PEAKS_A_SECOND = 60
AROUND = (5, 7)  # a peak is the largest of so many frames and bins
WEAKEST = 1e-5  # times the power of the strongest peak: 50 dB below it
FAN_OUT = 10  # pairs of each peak with those that follow it
MAX_FRAMES = 63  # between the two of a pair: a second
KEPT = 160  # pairs of a stored recording
ASKED = 400  # pairs of a new recording, in each of its views
VIEWS = (0, HOP // 2)  # samples left out at the beginning: after a cut, one has frames near those of the original
MOST_POSTINGS = 40_000  # read for a view, the rarest pairs first: pairs that everybody has tell little and cost most
STRETCH = 8  # frames
TOLERANCE = 1  # frames by which aligned pairs may be apart
LEAST_ALIGNED = 12  # of the pairs kept; docs/accuracy.md has what it catches and mistakes
UNHEARD = 1e-9  # how unlikely a run of pairs without one that is aligned is, where the same recording goes on
UNHEARD_SECONDS = 1.0  # that such a run lasts at the least
LEAST_TOGETHER = 6  # aligned pairs of one stretch; a few agree by chance
PAIR_SECONDS = 0.3  # that a pair reaches beyond its first peak, mostly
PAIR = np.dtype([("hash", "<u4"), ("frame", "<u2")])


Stretches = Sequence[tuple[float, float]]  # (start, end) in seconds


def pairs(samples: np.ndarray, speech: Stretches | None = None) -> np.ndarray:
    """Find the pairs of peaks: (n,) float32 at 8 kHz -> (pairs,) of PAIR, the strongest first. One peak gives none.

    ``speech``: only peaks inside these stretches count.
    """
    if len(samples) < WINDOW:
        return np.zeros(0, dtype=PAIR)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * np.hanning(WINDOW).astype(np.float32)
    spectra = fft.rfft(frames, axis=1)[:, LOW:HIGH]
    power = spectra.real**2 + spectra.imag**2
    spoken = _inside(speech, len(power))
    if not spoken.any():
        return np.zeros(0, dtype=PAIR)
    top = (power == _largest(power)) & (power > power[spoken].max() * WEAKEST) & spoken[:, None]
    at, bins = np.nonzero(top)
    strongest = np.argsort(-power[at, bins], kind="stable")[: max(8, round(PEAKS_A_SECOND * spoken.sum() * HOP / RATE))]
    chosen = np.sort(strongest)  # by time, then by frequency
    at, bins, loud = at[chosen], bins[chosen], power[at[chosen], bins[chosen]]
    # Each peak with the next ones in time; those in the same frame say nothing about time.
    first, then = np.broadcast_arrays(
        np.arange(len(at))[:, None], np.searchsorted(at, at, "right")[:, None] + np.arange(FAN_OUT)
    )
    near = (then < len(at)) & (then - first < 3 * FAN_OUT)
    first, then = first[near], then[near]
    near = at[then] - at[first] <= MAX_FRAMES
    first, then = first[near], then[near]
    values = (bins[first] << 14 | bins[then] << 6 | at[then] - at[first]).astype(np.uint32)
    kept = _spread(np.minimum(loud[first], loud[then]), at[first])
    result = np.zeros(len(kept), dtype=PAIR)
    result["hash"], result["frame"] = values[kept], np.minimum(at[first][kept], np.iinfo(np.uint16).max)
    return result


def _largest(power: np.ndarray) -> np.ndarray:
    """The largest value in the ``AROUND`` of each, of values from 0: (frames, bins) -> (frames, bins)."""
    height, width = AROUND
    padded = np.pad(power, [(height // 2, height // 2), (width // 2, width // 2)])
    rows = functools.reduce(np.maximum, (padded[at : at + len(power)] for at in range(height)))
    return functools.reduce(np.maximum, (rows[:, at : at + power.shape[1]] for at in range(width)))


def _inside(speech: Stretches | None, count: int) -> np.ndarray:
    """Which frames are centred in a stretch, (count,) bool; all of them without stretches."""
    if speech is None:
        return np.ones(count, dtype=bool)
    inside = np.zeros(count, dtype=bool)
    for start, end in speech:
        first, last = (round((each * RATE - WINDOW / 2) / HOP) for each in (start, end))
        inside[max(0, first) : max(0, last)] = True
    return inside


def views(samples: np.ndarray, speech: Stretches | None = None) -> list[np.ndarray]:
    """Return what an index is searched with: the strongest pairs of each of ``VIEWS``, of (n,) float32 at 8 kHz.

    ``speech``: as in ``pairs``.
    """
    return [pairs(samples[shift:], speech)[:ASKED] for shift in VIEWS]


def _spread(strengths: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the order in which pairs are kept: alternately the strongest of all and the strongest of each stretch in
    turn, so that enough of them survive a cut."""
    loudest = np.argsort(-strengths, kind="stable")
    stretch = frames[loudest] // STRETCH
    together = np.argsort(stretch, kind="stable")
    turn = np.empty(len(loudest), dtype=int)  # of each among those of its stretch
    turn[together] = np.arange(len(loudest)) - np.searchsorted(stretch[together], stretch[together])
    in_turn = loudest[np.argsort(turn, kind="stable")]
    rank = np.empty((2, len(loudest)), dtype=int)
    rank[0, loudest] = 2 * np.arange(len(loudest))
    rank[1, in_turn] = 2 * np.arange(len(loudest)) + 1
    return np.argsort(rank.min(axis=0), kind="stable")


def kept(asked: list[np.ndarray]) -> bytes:
    """Return the fingerprint of a recording whose ``views`` exist already. The first view is of all its samples."""
    return asked[0][:KEPT].tobytes()


def acoustic_fingerprint(samples: np.ndarray) -> bytes:
    """Return the acoustic fingerprint of (n,) float32 at 8 kHz: at most ``KEPT`` pairs, 6 bytes each."""
    return kept([pairs(samples)])


@dataclass(frozen=True)
class Replay:
    """A recording that was heard before. ``offset_seconds`` is where the new one begins in it."""

    key: int
    aligned: int  # pairs
    score: float  # share of the pairs kept, 0 to 1
    offset_seconds: float


def repeated(fingerprint: bytes, asked: Iterable[np.ndarray], offset_seconds: float) -> list[tuple[float, float]]:
    """Find which stretches of a recording, seconds, repeat an earlier one that begins ``offset_seconds`` before.

    ``fingerprint`` is the earlier one's, ``asked`` are the ``views`` of the new one. Of a recording that is played
    again, pairs are aligned all over. Where both only share a sound, such as the announcement of a line, a long run of
    pairs has none that is aligned. Up to such a run the recording counts as repeated, so that in doubt it all does.
    """
    old = np.frombuffer(fingerprint, dtype=PAIR)
    old = old[np.argsort(old["frame"], kind="stable")]
    offset = round(offset_seconds * RATE / HOP)
    aligned = np.zeros(len(old), dtype=bool)
    for view in asked:
        for step in range(-TOLERANCE, TOLERANCE + 1):
            known = view["hash"].astype(np.int64) << 20 | (view["frame"].astype(np.int64) + offset + step)
            aligned |= np.isin(old["hash"].astype(np.int64) << 20 | old["frame"].astype(np.int64), known)
    places = np.flatnonzero(aligned)
    if len(places) < LEAST_ALIGNED:
        return []
    inner = places[len(places) // 10 : len(places) - len(places) // 10]  # a few pairs agree by chance
    rate = min(0.99, len(inner) / (inner[-1] - inner[0] + 1))
    longest = np.log(UNHEARD) / np.log(1 - rate)  # pairs in a row, none of them aligned
    at = old["frame"].astype(int)
    breaks = (np.diff(places) > longest) & (np.diff(at[places]) * HOP > UNHEARD_SECONDS * RATE)
    found = []
    for group in np.split(places, np.flatnonzero(breaks) + 1):
        if len(group) < LEAST_TOGETHER:
            continue
        first, last = group[0], group[-1]
        if first <= longest or (at[first] - at[0]) * HOP <= UNHEARD_SECONDS * RATE:
            first = 0
        if len(old) - 1 - last <= longest or (at[-1] - at[last]) * HOP <= UNHEARD_SECONDS * RATE:
            last = len(old) - 1
        start, end = ((int(at[each]) - offset) * HOP / RATE for each in (first, last))
        found.append((start, end + WINDOW / RATE + PAIR_SECONDS))
    return found


class ReplayIndex:
    """Fingerprints in memory, by number. Threads must not share it.

    They are sorted by hash in two parts: a large one, and a small one of what came since. The small part is merged
    into the large one when it reaches ``MERGE_AT`` pairs.
    """

    MERGE_AT = 200_000  # pairs in the small part

    def __init__(self) -> None:
        self._large = Postings.of([])
        self._recent: list[np.ndarray] = []
        self._small: Postings | None = None
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: int) -> bool:
        return key in self._sizes

    def add_many(self, items: Iterable[tuple[int, bytes]]) -> None:
        """Add (key, fingerprint) items. A key must be new, and below 2^32."""
        for key, content in items:
            kept = np.frombuffer(content, dtype=PAIR)
            postings = np.empty(len(kept), dtype=POSTING)
            postings["hash"], postings["frame"], postings["key"] = kept["hash"], kept["frame"], key
            self._recent.append(postings)
            self._sizes[key] = len(kept)
        self._small = None
        if sum(map(len, self._recent)) > self.MERGE_AT:
            self._large = Postings.of([self._large.rows(), *self._recent])
            self._recent = []

    def fill(self, rows: np.ndarray, size: int) -> None:
        """Replace everything in one step by POSTING rows of fingerprints of ``size`` pairs each."""
        self._large, self._recent, self._small = Postings.of([rows]), [], None
        self._sizes = dict.fromkeys(np.unique(rows["key"]).tolist(), size)

    def remove_many(self, keys: Iterable[int]) -> None:
        """Remove fingerprints. Keys that are not there are ignored."""
        gone = {key for key in keys if self._sizes.pop(key, None) is not None}
        if gone:
            numbers = np.fromiter(gone, dtype=np.uint32)
            rows = self._large.rows()
            self._large = Postings.of([rows[~np.isin(rows["key"], numbers)]])
            self._recent = [each for each in self._recent if len(each) and int(each["key"][0]) not in gone]
            self._small = None

    def find(self, asked: Iterable[np.ndarray]) -> Replay | None:
        """Find the recording with the most pairs aligned with one of the ``views``, ``LEAST_ALIGNED`` at least."""
        if self._small is None:
            self._small = Postings.of(self._recent)
        found = [replay for view in asked if (replay := self._aligned(view, self._small)) is not None]
        return max(found, key=lambda replay: replay.aligned, default=None)

    def _aligned(self, asked: np.ndarray, small: "Postings") -> Replay | None:
        hits = [part.hits(asked) for part in (self._large, small)]
        keys, offsets = (np.concatenate(each) for each in zip(*hits, strict=True))
        if len(keys) < LEAST_ALIGNED:
            return None
        # One number for recording and offset; a pair may have slipped by a frame, so neighbours count together.
        places, counts = np.unique((keys.astype(np.int64) << 20) + offsets + (1 << 19), return_counts=True)
        around = counts.copy()
        for step in range(1, TOLERANCE + 1):
            for shift in (-step, step):
                at = np.searchsorted(places, places + shift)
                at[at == len(places)] = 0
                around += np.where(places[at] == places + shift, counts[at], 0)
        best = int(around.argmax())
        key, aligned = int(places[best] >> 20), int(around[best])
        if aligned < LEAST_ALIGNED:
            return None
        offset = int(places[best] & ((1 << 20) - 1)) - (1 << 19)
        return Replay(key, aligned, min(1.0, aligned / max(1, self._sizes[key])), offset * HOP / RATE)


POSTING = np.dtype([("hash", "<u4"), ("key", "<u4"), ("frame", "<u2")])


@dataclass(frozen=True, eq=False)
class Postings:
    """Where each hash was heard, sorted by hash: arrays (n,)."""

    hashes: np.ndarray
    keys: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[np.ndarray]) -> "Postings":
        """Join and sort POSTING rows."""
        rows = np.concatenate([np.zeros(0, dtype=POSTING), *parts])
        order = np.argsort(rows["hash"], kind="stable")
        return cls(*(np.ascontiguousarray(rows[name][order]) for name in ("hash", "key", "frame")))

    def rows(self) -> np.ndarray:
        """Return all postings as POSTING rows."""
        found = np.empty(len(self.hashes), dtype=POSTING)
        found["hash"], found["key"], found["frame"] = self.hashes, self.keys, self.frames
        return found

    def hits(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and offsets (frames) of the postings with the asked hashes, about ``MOST_POSTINGS`` at most."""
        asked = asked[np.argsort(asked["hash"], kind="stable")]  # neighbouring searches share what they read
        first = np.searchsorted(self.hashes, asked["hash"], "left")
        counts = np.searchsorted(self.hashes, asked["hash"], "right") - first
        rarest = np.argsort(counts, kind="stable")
        rarest = rarest[np.cumsum(counts[rarest]) <= MOST_POSTINGS]
        asked, first, counts = asked[rarest], first[rarest], counts[rarest]
        rows = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        return self.keys[rows], self.frames[rows].astype(np.int64) - np.repeat(asked["frame"].astype(np.int64), counts)
