"""Score normalisation against a cohort of other speakers (AS-norm)."""

import numpy as np

TOP = 100  # the closest cohort speakers that a score is normalised with
MIN_DEVIATION = 1e-3  # of cosines; a smaller deviation would blow up the score
BLOCK = 1024  # vectors compared with the cohort at once; this bounds the memory

Statistics = tuple[np.ndarray, np.ndarray]  # mean (k,) and standard deviation (k,) of cosines to the cohort


class Cohort:
    """Speakers whom both sides of a comparison are compared with: adaptive symmetric score normalisation (AS-norm).

    Some voiceprints and some clips are close to everybody, and so give impostors high cosines. The mean and the
    standard deviation of their cosines to the closest cohort speakers take this out (Matejka et al., "Analysis of
    score normalization in multilingual speaker recognition", 2017, who call this variant AS-norm1).
    """

    def __init__(self, means: np.ndarray, top: int = TOP) -> None:
        """Take each cohort speaker's mean embedding, ``means`` (n, d), and how many of the closest count.

        Raises ValueError for fewer than two speakers, or a mean without a direction.
        """
        means = np.asarray(means, dtype=np.float32)
        if means.ndim != 2 or len(means) < 2 or top < 2:
            raise ValueError("a cohort needs at least two speakers")
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or lengths.min() < 1e-6:
            raise ValueError("a cohort needs mean embeddings of finite length above zero")
        self.means = means / lengths
        self.top = min(top, len(means))

    def statistics(self, vectors: np.ndarray) -> Statistics:
        """Return the mean (k,) and deviation (k,), float64, of the ``top`` highest cosines of vectors (k, d).

        The vectors are of unit length.
        """
        mean, deviation = np.empty(len(vectors)), np.empty(len(vectors))
        for first in range(0, len(vectors), BLOCK):
            rows = slice(first, first + BLOCK)
            cosines = np.asarray(vectors[rows], dtype=np.float32) @ self.means.T
            closest = np.partition(cosines, -self.top, axis=1)[:, -self.top :].astype(np.float64)
            mean[rows], deviation[rows] = closest.mean(axis=1), closest.std(axis=1)
        return mean, np.maximum(deviation, MIN_DEVIATION)

    @staticmethod
    def normalise(scores: np.ndarray, voiceprints: Statistics, test: Statistics) -> np.ndarray:
        """Return the mean of both sides' z-scores: (n,).

        ``scores`` (n,), statistics of (n,) voiceprints and of (1,) or (n,) test clips.
        """
        return ((scores - voiceprints[0]) / voiceprints[1] + (scores - test[0]) / test[1]) / 2
