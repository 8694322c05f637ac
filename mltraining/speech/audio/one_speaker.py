"""Whether one person speaks in a recording: how far apart are the two most different groups of its short windows?

The measure is in cosines, not in a calibrated likelihood ratio. A calibration is fitted on whole recordings; on short
windows it could be overconfident and refuse everybody.
"""

from dataclasses import replace

import numpy as np

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform

WINDOW_SECONDS = 2.0  # of net speech
ROUNDS = 10  # of 2-means; it settles in three or four


def windows(waveform: Waveform) -> list[Waveform]:
    """Cut the net speech into stretches of ``WINDOW_SECONDS``. What is left over at the end is not used."""
    speech = quality.speech_only(waveform)
    length = round(WINDOW_SECONDS * speech.sample_rate)
    return [
        replace(speech, samples=speech.samples[start : start + length])
        for start in range(0, len(speech.samples) - length + 1, length)
    ]


def separation(embeddings: np.ndarray) -> float | None:
    """Measure how much more alike windows are within the two groups than between them.

    ``embeddings``: (windows, d), unit length. The groups are those that 2-means finds, starting from the two windows
    that are least alike. Returns the mean cosine within the groups less the mean cosine between them: about 0 where
    all windows are equally alike, 2 at most. Returns None for fewer than three windows.
    """
    count = len(embeddings)
    if count < 3:
        return None
    alike = embeddings @ embeddings.T
    seeds = np.unravel_index(int(alike.argmin()), alike.shape)
    first = alike[seeds[0]] >= alike[seeds[1]]
    for _ in range(ROUNDS):
        centres = np.stack([embeddings[first].mean(axis=0), embeddings[~first].mean(axis=0)])
        nearest = (embeddings @ centres.T) @ np.array([1.0, -1.0]) >= 0
        if (nearest == first).all() or nearest.all() or not nearest.any():
            break
        first = nearest
    together = (first[:, None] == first[None]) & ~np.eye(count, dtype=bool)
    apart = first[:, None] != first[None]
    return float(alike[together].mean() - alike[apart].mean())
