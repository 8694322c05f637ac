"""Whether one person speaks in a recording: its speech in short windows, and how far the two most different groups of
them are apart.

In cosines, not in a calibrated ratio: a calibration is for whole recordings, and one that is too sure of itself would
refuse everybody.
"""

import numpy as np

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform

WINDOW_SECONDS = 2.0  # of net speech
ROUNDS = 10  # of 2-means; it settles in three or four


def windows(waveform: Waveform) -> list[Waveform]:
    """The net speech, cut into stretches of ``WINDOW_SECONDS``; what is left over at the end is not used."""
    speech = quality.speech_only(waveform)
    length = round(WINDOW_SECONDS * speech.sample_rate)
    return [
        Waveform(
            speech.samples[start : start + length],
            speech.sample_rate,
            waveform.container,
            waveform.codec,
            waveform.channels,
        )
        for start in range(0, len(speech.samples) - length + 1, length)
    ]


def separation(embeddings: np.ndarray) -> float | None:
    """Unit-length embeddings (windows, d) -> how much more alike windows are within the two groups than between them.

    Mean cosine within, less mean cosine between, of the groups that 2-means finds from the two windows that are the
    least alike. About 0 where all windows are as alike, up to 2; None for fewer than three windows.
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
