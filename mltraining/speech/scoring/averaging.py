"""From pieces to a clip's embedding."""

from collections.abc import Callable, Sequence

import numpy as np

from mltraining.speech.config import Config
from mltraining.speech.features.chunks import chunks

# Pieces (n,) of a clip, float or int16 -> their pooled vectors (pieces, dimensions) float32, not yet of unit length.
Pooled = Callable[[Sequence[np.ndarray]], np.ndarray]
# A piece (n,) -> its pooled vector (dimensions,), and those of its windows (windows, dimensions).
Heard = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def average(pooled: Pooled, clips: Sequence[np.ndarray], config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and means of the pooled vectors, (clips, dimensions) each, of clips (n,), float or int16.

    The clips are at the configured rate. A clip's embedding is the mean of its chunks' unit-length embeddings, weighted
    by their length, made unit length again; its mean pooled vector is weighted likewise.
    """
    pieces = [(row, piece) for row, clip in enumerate(clips) for piece in chunks(clip, config.audio, config.prediction)]
    rows = [row for row, _ in pieces]
    vectors = pooled([piece for _, piece in pieces])
    weights = np.array([len(piece) for _, piece in pieces], dtype=np.float32)[:, None]
    sums = np.zeros((2, len(clips), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums[0], rows, weights * unit(vectors))
    np.add.at(sums[1], rows, weights * vectors)
    return unit(sums[0]), sums[1] / np.bincount(rows, weights[:, 0])[:, None].astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Give each vector (…, d) unit length; a vector of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
