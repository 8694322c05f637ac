"""Voiceprints: what a speaker's recordings have in common, and how like it another recording is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mltraining.speech.audio.quality import Quality


@dataclass(frozen=True, eq=False)
class EmbeddedClip:
    """A recording as scoring knows it: its embedding (d,), of unit length, and its quality."""

    embedding: np.ndarray
    quality: Quality


@dataclass(frozen=True, eq=False)
class Voiceprint:
    """A speaker's unit vector (d,) float32, and the seconds of net speech that it is the mean of."""

    vector: np.ndarray
    speech_seconds: float

    @classmethod
    def of(cls, clips: Sequence[EmbeddedClip]) -> "Voiceprint":
        """Make a voiceprint of one speaker's clips, each weighted by its net speech.

        Raises ValueError where no clip holds speech.
        """
        seconds = np.array([clip.quality.speech_seconds for clip in clips])
        if not seconds.any():
            raise ValueError("no recording holds speech")
        return cls(mean_voiceprint(np.stack([clip.embedding for clip in clips]), seconds), float(seconds.sum()))


def cosine(embedding: np.ndarray, voiceprints: np.ndarray) -> np.ndarray:
    """Return the cosine of embedding (d,) to each of voiceprints (n, d), all of unit length: (n,) in [-1, 1]."""
    return np.clip(voiceprints @ embedding, -1, 1)


def mean_voiceprint(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the direction of the weighted mean: embeddings (k, d), weights (k,) >= 0 -> (d,) float32, unit length.

    Raises ValueError where no embedding has weight, or where the embeddings cancel out.
    """
    mean = np.asarray(weights, dtype=np.float64) @ np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError("the embeddings have no mean direction")
    return (mean / length).astype(np.float32)
