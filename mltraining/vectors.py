"""Arithmetic on embeddings that web processes need. It imports numpy alone, never ``mltraining.speech``."""

import numpy as np

PACKED = np.dtype("<f4")


def packed(vector: np.ndarray) -> bytes:
    """Return a vector as it is stored and sent: little-endian float32."""
    return np.asarray(vector, dtype=PACKED).tobytes()


def unpacked(content: bytes) -> np.ndarray:
    """Return the vector (d,) float32 that ``packed`` packed."""
    return np.frombuffer(content, dtype=PACKED)


def mean_voiceprint(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the direction of the weighted mean: embeddings (k, d), weights (k,) >= 0 -> (d,) float32, unit length.

    The speech library, which must run alone, has the same function; a test compares the two. Raises ``ValueError``
    where all weights are zero, or the embeddings cancel out.
    """
    mean = np.asarray(weights, dtype=np.float64) @ np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError("the embeddings have no mean direction")
    return np.asarray(mean / length, dtype=np.float32)
