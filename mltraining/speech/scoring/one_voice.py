"""Whether one person speaks in a recording: are its two most different parts of one voice?

The measure is the calibrated log-likelihood ratio of the two parts, so that its limits hold for another encoder once
that is calibrated. ``benchmark-hearing`` shows what a limit costs, and ``benchmark-gate`` what it does in enrollment.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mltraining.speech.audio import one_speaker
from mltraining.speech.audio.quality import Quality
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.scoring.encoder import Windows
from mltraining.speech.scoring.pipeline import ScoringPipeline

LEAST_WINDOWS = 2  # of each part: 0.72 s of speech, or 1.5 s where windows are embedded alone
MOST_CHANGES = 60  # places that are tried; in longer speech they lie further apart than windows do
TURNS_MARGIN = 4.0  # natural logarithm: groups fit any recording a little better than a change does
ROUNDS = 10  # of 2-means; it settles in three or four


@dataclass(frozen=True, eq=False)
class Part:
    """Windows of one recording together: a unit vector (d,) and their net speech."""

    vector: np.ndarray
    speech_seconds: float


@dataclass(frozen=True, eq=False)
class Parts:
    """The two parts of a recording that are least alike.

    ``log_likelihood_ratio`` is that of one voice in both. ``changes_at`` is where the second part begins, in seconds
    of the recording; ``None`` where the parts alternate.
    """

    log_likelihood_ratio: float
    first: Part
    second: Part
    changes_at: float | None


def placed_windows(
    pipeline: ScoringPipeline,
    waveform: Waveform,
    heard: Windows | None,
    before_each: Callable[[], None] = lambda: None,
) -> Windows:
    """Return the windows of a recording's speech, by where they begin in the recording.

    ``heard`` are those of ``pipeline.listen``. Where it gave none, the speech is cut and each window embedded alone;
    what ``before_each`` raises ends it.
    """
    if heard is not None:
        return replace(heard, starts=np.array([one_speaker.place(waveform, start) for start in heard.starts]))
    cut = one_speaker.windows(waveform)
    if not cut:
        return Windows(np.zeros((0, pipeline.dimensions), dtype=np.float32), np.zeros(0), 0.0)
    vectors = []
    for each in cut:
        before_each()
        vectors.append(pipeline.embed(each.waveform))
    return Windows(np.stack(vectors), np.array([each.start_seconds for each in cut]), cut[0].waveform.duration_seconds)


def split(pipeline: ScoringPipeline, windows: Windows, quality: Quality) -> Parts | None:
    """Find the two parts that are least alike: before and after a change, or voices that take turns.

    Returns None where there are too few windows for two parts.
    """
    count = len(windows.vectors)
    if count < 2 * LEAST_WINDOWS:
        return None
    found = []
    for first in range(LEAST_WINDOWS, count - LEAST_WINDOWS + 1, -(-count // MOST_CHANGES)):
        # The windows that reach across the change are left out.
        before = np.arange(count) < max(LEAST_WINDOWS, first - 1)
        after = np.arange(count) >= first
        found.append(_parts(pipeline, windows, quality, before, after, float(windows.starts[first])))
    change = min(found, key=lambda each: each.log_likelihood_ratio)
    one = _groups(windows.vectors)
    if min(one.sum(), (~one).sum()) < LEAST_WINDOWS:
        return change
    turns = _parts(pipeline, windows, quality, one, ~one, None)
    return turns if turns.log_likelihood_ratio < change.log_likelihood_ratio - TURNS_MARGIN else change


def _parts(
    pipeline: ScoringPipeline,
    windows: Windows,
    quality: Quality,
    one: np.ndarray,
    other: np.ndarray,
    changes_at: float | None,
) -> Parts:
    first, second = (_part(windows, chosen) for chosen in (one, other))
    measured = replace(quality, speech_seconds=first.speech_seconds)
    found = pipeline.compare(first.vector, measured, second.vector[None], second.speech_seconds)
    return Parts(float(found.log_likelihood_ratio[0]), first, second, changes_at)


def _part(windows: Windows, chosen: np.ndarray) -> Part:
    mean = windows.vectors[chosen].mean(axis=0)
    return Part(mean / np.linalg.norm(mean), windows.seconds * (int(chosen.sum()) + 1) / 2)


def _groups(vectors: np.ndarray) -> np.ndarray:
    """Which windows are in the first group of 2-means, (n,) bool. It starts from the two that are least alike."""
    alike = vectors @ vectors.T
    seeds = np.unravel_index(int(alike.argmin()), alike.shape)
    first = np.asarray(alike[seeds[0]] >= alike[seeds[1]])
    for _ in range(ROUNDS):
        if first.all() or not first.any():
            break
        centres = np.stack([vectors[first].mean(axis=0), vectors[~first].mean(axis=0)])
        nearest = (vectors @ centres.T) @ np.array([1.0, -1.0]) >= 0
        if (nearest == first).all() or nearest.all() or not nearest.any():
            break
        first = nearest
    return first
