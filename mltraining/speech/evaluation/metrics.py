"""Error rates of speaker verification and identification.

Everywhere ``target`` (n,) are the scores of trials of the same speaker and ``impostor`` (m,) those of different
speakers, higher meaning more alike. A trial is accepted where its score >= the threshold. Empty sets and scores that
are not numbers raise ValueError.
"""

import math

import numpy as np
from scipy.optimize import isotonic_regression

ROUNDING = 1e-9  # of a rate that is a sum of shares


def area_under_curve(target: np.ndarray, impostor: np.ndarray) -> float:
    """Return the probability that a target outscores an impostor, ties counting half (Mann and Whitney)."""
    target, impostor = _checked(target, impostor)
    impostor = np.sort(impostor)
    below = np.searchsorted(impostor, target, side="left")
    not_above = np.searchsorted(impostor, target, side="right")
    return float((below + not_above).sum() / 2 / len(target) / len(impostor))


def roc_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean over classes of the one-against-rest ROC AUC: truth (n,) class indices, scores (n, classes).

    A class without a clip, or with all of them, has no curve and is left out. Raises ValueError where none remains.
    """
    truth = np.asarray(truth)
    found = [
        area_under_curve(scores[truth == label, label], scores[truth != label, label])
        for label in np.unique(truth)
        if not (truth == label).all()
    ]
    if not found:
        raise ValueError("the ROC AUC needs clips of two classes")
    return float(np.mean(found))


def rank_one(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the share of clips whose own class outscores every other: truth (n,), scores (n, classes).

    A tie is a miss.
    """
    if not len(truth):
        raise ValueError("no trials")
    own = scores[np.arange(len(truth)), truth]
    return float(((scores >= own[:, None]).sum(axis=1) == 1).mean())


def operating_points(target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the miss and false-accept rates at every distinct threshold, (k,) each, from (0, 1) to (1, 0)."""
    trials = ResampledTrials.once(target, impostor)
    return trials.miss[0], trials.false_accept[0]


def equal_error_rate(target: np.ndarray, impostor: np.ndarray) -> float:
    """Return the rate where misses and false accepts are equal, see ``ResampledTrials.equal_error_rate``."""
    return float(ResampledTrials.once(target, impostor).equal_error_rate()[0])


def cllr(target: np.ndarray, impostor: np.ndarray) -> float:
    """Return the cost of log-likelihood ratios in bits, see ``ResampledTrials.cllr``."""
    return float(ResampledTrials.once(target, impostor).cllr()[0])


def min_cllr(target: np.ndarray, impostor: np.ndarray) -> float:
    """Return the cost after the best monotone recalibration, see ``ResampledTrials.min_cllr``."""
    return float(ResampledTrials.once(target, impostor).min_cllr()[0])


def best_log_likelihood_ratios(target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the natural-log ratios (n,) and (m,) of the best monotone recalibration (pool adjacent violators).

    They are infinite at the ends, where there are only targets or only impostors (Brümmer and du Preez, 2006).
    """
    target, impostor = _checked(target, impostor)
    values, group = np.unique(np.concatenate([target, impostor]), return_inverse=True)
    # Each kind weighs one half, so that the pooled share is a posterior at even odds.
    own = np.bincount(group[: len(target)], minlength=len(values)) / len(target) / 2
    total = own + np.bincount(group[len(target) :], minlength=len(values)) / len(impostor) / 2
    share = isotonic_regression(own / total, weights=total).x.clip(0, 1)[group]
    with np.errstate(divide="ignore"):
        ratios = np.log(share) - np.log1p(-share)
    return ratios[: len(target)], ratios[len(target) :]


def fnir_at_fpir(
    own: np.ndarray,
    rival: np.ndarray,
    unknown: np.ndarray,
    fpir: float,
    own_weights: np.ndarray | None = None,
    unknown_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the false-negative identification rate where the false-positive rate is no more than ``fpir``.

    Searches of enrolled speakers: ``own`` (n,) is the score of their own voiceprint, ``rival`` (n,) the best of all
    others; one that does not rank first, or stays below the threshold, is a miss. Searches of unknown speakers:
    ``unknown`` (m,) is the best score. The threshold is the lowest that holds ``fpir``. Returns (1,), or (resamples,)
    with the weights (resamples, n) and (resamples, m); NaN where a resample has no search of either kind.
    """
    own, unknown = _checked(own, unknown)
    own_weights = np.ones((1, len(own))) if own_weights is None else own_weights
    unknown_weights = np.ones((1, len(unknown))) if unknown_weights is None else unknown_weights
    order = np.argsort(-unknown, kind="stable")
    positive = _share(np.cumsum(unknown_weights[:, order], axis=1), unknown_weights.sum(axis=1))
    # The threshold lies just above the best score that may not be let in.
    excluded = (positive <= fpir + ROUNDING).sum(axis=1)
    limit = np.append(unknown[order], -np.inf)[excluded]
    missed = (own[None, :] <= limit[:, None]) | (own <= rival)[None, :]
    found = _share((own_weights * missed).sum(axis=1, keepdims=True), own_weights.sum(axis=1))[:, 0]
    return np.where(unknown_weights.sum(axis=1) > 0, found, np.nan)


def resampled_speakers(speakers: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each speaker is drawn: (resamples + 1, speakers). The first row is the data as they are."""
    drawn = random.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    return np.concatenate([np.ones((1, speakers)), drawn])


class ResampledTrials:
    """Error rates of the same trials under resamples of their speakers, all at once: each method gives (resamples,).

    A trial of two speakers is held as often as the product of both, so that a resample is what would be measured had
    these speakers been recorded (the joint bootstrap of Poh and Bengio, 2007). NaN where a resample lacks a kind of
    trial. ``miss`` and ``false_accept`` are the rates (resamples, thresholds + 1) at every distinct threshold.
    """

    def __init__(self, scores: np.ndarray, target: np.ndarray, weights: np.ndarray) -> None:
        """Take ``scores`` (n,), ``target`` (n,) bool and ``weights`` (resamples, n): how often each trial is held."""
        scores = np.asarray(scores, dtype=np.float64)
        _checked(scores[target], scores[~target])
        order = np.argsort(scores, kind="stable")
        self._scores, self._target, self._weights = scores[order], target[order], weights[:, order]
        starts = np.flatnonzero(np.append(True, np.diff(self._scores) > 0))  # of each distinct threshold
        self._own, self._other = (
            np.add.reduceat(np.where(kind, self._weights, 0), starts, axis=1)  # (resamples, thresholds)
            for kind in (self._target, ~self._target)
        )
        zero = np.zeros((len(weights), 1))
        missed, refused = (np.concatenate([zero, np.cumsum(held, axis=1)], axis=1) for held in (self._own, self._other))
        self.miss = _share(missed, missed[:, -1])
        self.false_accept = 1 - _share(refused, refused[:, -1])

    @classmethod
    def once(cls, target: np.ndarray, impostor: np.ndarray) -> "ResampledTrials":
        """Take the trials as they are, without a resample: target (n,), impostor (m,)."""
        scores = np.concatenate([target, impostor])
        return cls(scores, np.arange(len(scores)) < len(target), np.ones((1, len(scores))))

    def equal_error_rate(self) -> np.ndarray:
        """Return where both rates are equal, on the line between the two nearest thresholds."""
        difference = self.miss - self.false_accept  # from -1 to 1, never falling
        rows = np.arange(len(difference))
        after = np.maximum(np.argmax(difference >= 0, axis=1), 1)
        low, high = difference[rows, after - 1], difference[rows, after]
        share = -low / np.where(high > low, high - low, 1)
        before = self.miss[rows, after - 1]
        return before + share * (self.miss[rows, after] - before)

    def false_reject_rate_at(self, false_accept_rate: float) -> np.ndarray:
        """Return the false-reject rate at the lowest threshold that holds the false-accept rate given."""
        first = np.argmax(self.false_accept <= false_accept_rate + ROUNDING, axis=1)
        return self.miss[np.arange(len(first)), first]

    def min_dcf(self, target_prior: float = 0.01) -> np.ndarray:
        """Return the normalised detection cost at the best threshold.

        The cost is [P·Pmiss + (1 - P)·Pfa] / min(P, 1 - P) for a prior P of target trials (NIST SRE).
        """
        return _cost(self.miss, self.false_accept, target_prior).min(axis=1)

    def actual_dcf(self, target_prior: float = 0.01) -> np.ndarray:
        """Return the same cost at Bayes' threshold; the scores are natural-log likelihood ratios."""
        accepted = (self._scores >= -math.log(target_prior / (1 - target_prior))).astype(float)
        return _cost(self._mean(1 - accepted, self._target), self._mean(accepted, ~self._target), target_prior)

    def cllr(self) -> np.ndarray:
        """Return the cost in bits of natural-log likelihood ratios: 0 is perfect, 1 knows nothing (Brümmer, 2006)."""
        costs = np.logaddexp(0, np.where(self._target, -self._scores, self._scores)) / math.log(2)
        return (self._mean(costs, self._target) + self._mean(costs, ~self._target)) / 2

    def min_cllr(self) -> np.ndarray:
        """Return Cllr after the best monotone recalibration (pool adjacent violators): the cost of discrimination."""
        own = _share(self._own, 2 * self._own.sum(axis=1))
        total = own + _share(self._other, 2 * self._other.sum(axis=1))
        return np.array([_pooled_cost(*pair) for pair in zip(own, total, strict=True)])

    def _mean(self, values: np.ndarray, kind: np.ndarray) -> np.ndarray:
        return weighted_mean(values[kind], self._weights[:, kind])


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the means (resamples,) of values (n,) under weights (resamples, n); NaN where the weights are all zero."""
    return _share((weights @ values)[:, None], weights.sum(axis=1))[:, 0]


def _share(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(r, k) over (r,); NaN where the whole is nothing."""
    return parts / np.where(whole > 0, whole, np.nan)[:, None]


def _pooled_cost(own: np.ndarray, total: np.ndarray) -> float:
    """Cllr in bits after pooling; target masses (k,) sum to one half, all masses to one."""
    if not np.isfinite(total).all():
        return math.nan
    own, total = own[total > 0], total[total > 0]
    starts = isotonic_regression(own / total, weights=total).blocks[:-1]
    mass, whole = np.add.reduceat(own, starts), np.add.reduceat(total, starts)
    other = np.maximum(whole - mass, 0)
    cost = sum(part[part > 0] @ np.log2(part[part > 0] / whole[part > 0]) for part in (mass, other))
    return max(0.0, -float(cost))


def _cost(miss: np.ndarray, false_accept: np.ndarray, prior: float) -> np.ndarray:
    return (prior * miss + (1 - prior) * false_accept) / min(prior, 1 - prior)


def _checked(target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    target, impostor = np.asarray(target, dtype=np.float64), np.asarray(impostor, dtype=np.float64)
    if not len(target) or not len(impostor):
        raise ValueError("error rates need target and impostor trials")
    if not (np.isfinite(target).all() and np.isfinite(impostor).all()):
        raise ValueError("error rates need scores that are numbers")
    return target, impostor
