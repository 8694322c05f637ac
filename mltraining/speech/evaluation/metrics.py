"""Error rates of speaker verification and identification.

Everywhere ``target`` (n,) are the scores of trials of the same speaker and ``impostor`` (m,) those of different
speakers, higher meaning more alike; a trial is accepted where its score >= the threshold. Empty sets and scores that
are not numbers raise ValueError.
"""

import math
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-9  # of a rate that is a sum of shares


@dataclass(frozen=True)
class Rates:
    """Error rates at one threshold, each with its 95 % interval (low, high)."""

    threshold: float
    false_accept_rate: float
    false_accept_interval: tuple[float, float]
    false_reject_rate: float
    false_reject_interval: tuple[float, float]


def rates_at(target: np.ndarray, impostor: np.ndarray, threshold: float) -> Rates:
    target, impostor = _checked(target, impostor)
    accepts, rejects = int((impostor >= threshold).sum()), int((target < threshold).sum())
    return Rates(
        threshold,
        accepts / len(impostor),
        rate_interval(accepts, len(impostor)),
        rejects / len(target),
        rate_interval(rejects, len(target)),
    )


def rate_interval(errors: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate; with no error the upper end is no less than the rule of three's 3 / trials.

    It takes trials as independent. Those of one speaker are not, so over few speakers it is too narrow.
    """
    z = 1.959964
    rate = errors / trials
    center = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    low, high = max(0.0, center - half), min(1.0, center + half)
    if errors == 0:
        return 0.0, min(1.0, max(high, 3 / trials))
    return low, high


def area_under_curve(target: np.ndarray, impostor: np.ndarray) -> float:
    """Probability that a target outscores an impostor, ties counting half (Mann and Whitney)."""
    target, impostor = _checked(target, impostor)
    impostor = np.sort(impostor)
    below = np.searchsorted(impostor, target, side="left")
    not_above = np.searchsorted(impostor, target, side="right")
    return float((below + not_above).sum() / 2 / len(target) / len(impostor))


def roc_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over classes of the one-against-rest ROC AUC: truth (n,) class indices, scores (n, classes).

    A class without a clip, or with all of them, has no curve and is left out; ValueError where none remains.
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
    """Share of clips whose own class scores above every other: truth (n,), scores (n, classes). A tie is a miss."""
    if not len(truth):
        raise ValueError("no trials")
    own = scores[np.arange(len(truth)), truth]
    return float(((scores >= own[:, None]).sum(axis=1) == 1).mean())


def operating_points(target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Miss and false-accept rates at every threshold that differs, strictest last: both (k,), from (0, 1) to (1, 0)."""
    target, impostor = _checked(target, impostor)
    thresholds = np.unique(np.concatenate([target, impostor]))
    miss = np.searchsorted(np.sort(target), thresholds, side="left") / len(target)
    false_accept = 1 - np.searchsorted(np.sort(impostor), thresholds, side="left") / len(impostor)
    return np.append(miss, 1.0), np.append(false_accept, 0.0)


def equal_error_rate(target: np.ndarray, impostor: np.ndarray) -> float:
    """Where the miss and the false-accept rate are equal, on the line between the two nearest operating points."""
    miss, false_accept = operating_points(target, impostor)
    difference = miss - false_accept  # from -1 to 1, never falling
    after = int(np.argmax(difference >= 0))
    share = -difference[after - 1] / (difference[after] - difference[after - 1])
    return float(miss[after - 1] + share * (miss[after] - miss[after - 1]))


def min_dcf(target: np.ndarray, impostor: np.ndarray, target_prior: float = 0.01) -> float:
    """Normalised detection cost at the best threshold: [P·Pmiss + (1 - P)·Pfa] / min(P, 1 - P) (NIST SRE)."""
    miss, false_accept = operating_points(target, impostor)
    return float(_cost(miss, false_accept, target_prior).min())


def actual_dcf(target: np.ndarray, impostor: np.ndarray, target_prior: float = 0.01) -> float:
    """The same cost at Bayes' threshold. The scores are natural-log likelihood ratios."""
    found = rates_at(target, impostor, -math.log(target_prior / (1 - target_prior)))
    return float(_cost(np.array(found.false_reject_rate), np.array(found.false_accept_rate), target_prior))


def cllr(target: np.ndarray, impostor: np.ndarray) -> float:
    """Cost of log-likelihood ratios (natural log) in bits: 0 is perfect, 1 knows nothing (Brümmer, 2006)."""
    target, impostor = _checked(target, impostor, infinite=True)
    return float((np.logaddexp(0, -target).mean() + np.logaddexp(0, impostor).mean()) / 2 / math.log(2))


def min_cllr(target: np.ndarray, impostor: np.ndarray) -> float:
    """Cllr after the best monotone recalibration: what discrimination alone costs."""
    return cllr(*best_log_likelihood_ratios(target, impostor))


def best_log_likelihood_ratios(target: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (m,) natural log, from the best monotone recalibration of the scores (pool adjacent violators).

    Infinite at the ends, where only targets or only impostors are.
    """
    target, impostor = _checked(target, impostor)
    values, group = np.unique(np.concatenate([target, impostor]), return_inverse=True)
    # Each class weighs one half, so that the pooled share is a posterior at even odds.
    own = np.bincount(group[: len(target)], minlength=len(values)) / len(target) / 2
    all_ = own + np.bincount(group[len(target) :], minlength=len(values)) / len(impostor) / 2
    blocks = _pooled(own.tolist(), all_.tolist())
    share = np.array([mass / total for mass, total, _ in blocks]).clip(0, 1)
    with np.errstate(divide="ignore"):
        ratios = np.repeat(np.log(share) - np.log1p(-share), [count for _, _, count in blocks])[group]
    return ratios[: len(target)], ratios[len(target) :]


def false_reject_rate_at(target: np.ndarray, impostor: np.ndarray, false_accept_rate: float) -> float:
    """The false-reject rate at the lowest threshold whose false-accept rate is no more than the one given."""
    miss, false_accept = operating_points(target, impostor)
    return float(miss[np.argmax(false_accept <= false_accept_rate + ROUNDING)])


def fnir_at_fpir(
    own: np.ndarray,
    rival: np.ndarray,
    unknown: np.ndarray,
    fpir: float,
    own_weights: np.ndarray | None = None,
    unknown_weights: np.ndarray | None = None,
) -> np.ndarray:
    """False-negative identification rate at the lowest threshold whose false-positive rate is no more than ``fpir``.

    Searches of enrolled speakers: ``own`` (n,) is the score of their own voiceprint, ``rival`` (n,) the best of all
    others; one that does not rank first, or stays below the threshold, is a miss. Searches of unknown speakers:
    ``unknown`` (m,) is the best score. (1,), or (resamples,) with the weights (resamples, n) and (resamples, m);
    NaN where a resample has no search of either kind.
    """
    own, unknown = _checked(own, unknown)
    own_weights = np.ones((1, len(own))) if own_weights is None else own_weights
    unknown_weights = np.ones((1, len(unknown))) if unknown_weights is None else unknown_weights
    order = np.argsort(-unknown, kind="stable")
    positive = _share(np.cumsum(unknown_weights[:, order], axis=1), unknown_weights.sum(axis=1))
    # One more than the scores that are let in: the threshold lies just above the first that is one too many.
    excluded = (positive <= fpir + ROUNDING).sum(axis=1)
    limit = np.append(unknown[order], -np.inf)[excluded]
    missed = (own[None, :] <= limit[:, None]) | (own <= rival)[None, :]
    found = _share((own_weights * missed).sum(axis=1, keepdims=True), own_weights.sum(axis=1))[:, 0]
    return np.where(unknown_weights.sum(axis=1) > 0, found, np.nan)


@dataclass(frozen=True)
class Estimate:
    """A figure of the data as they are, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """From (resamples + 1,), the first the data as they are. A resample that has no figure (NaN) is left out."""
        drawn = values[1:][np.isfinite(values[1:])]
        low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
        return cls(float(values[0]), float(low), float(high))


def resampled_speakers(speakers: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """How often each speaker is drawn: (resamples + 1, speakers). The first row is all ones, the data as they are."""
    drawn = random.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    return np.concatenate([np.ones((1, speakers)), drawn])


class ResampledTrials:
    """Error rates of the same trials under resamples of their speakers, all at once: each method gives (resamples,).

    ``scores`` (n,), ``target`` (n,) bool, and ``weights`` (resamples, n): how often a resample holds each trial. A
    trial of two speakers is held as often as the product of both, so that a resample is what would be measured had
    these speakers been recorded (the joint bootstrap of Poh and Bengio, 2007). NaN where a resample lacks a kind.
    """

    def __init__(self, scores: np.ndarray, target: np.ndarray, weights: np.ndarray) -> None:
        _checked(scores[target], scores[~target])
        order = np.argsort(scores, kind="stable")
        self._sorted, self._target = scores[order], target[order]
        starts = np.flatnonzero(np.append(True, np.diff(self._sorted) > 0))  # of each threshold that differs
        weights = weights[:, order]
        self._own = np.add.reduceat(np.where(self._target, weights, 0), starts, axis=1)  # (resamples, thresholds)
        self._other = np.add.reduceat(np.where(self._target, 0, weights), starts, axis=1)
        zero = np.zeros((len(weights), 1))
        miss = np.concatenate([zero, np.cumsum(self._own, axis=1)], axis=1)
        refused = np.concatenate([zero, np.cumsum(self._other, axis=1)], axis=1)
        self.miss = _share(miss, miss[:, -1])
        self.false_accept = 1 - _share(refused, refused[:, -1])

    def equal_error_rate(self) -> np.ndarray:
        difference = self.miss - self.false_accept
        rows = np.arange(len(difference))
        after = np.maximum(np.argmax(difference >= 0, axis=1), 1)
        low, high = difference[rows, after - 1], difference[rows, after]
        share = -low / np.where(high > low, high - low, 1)
        before = self.miss[rows, after - 1]
        return before + share * (self.miss[rows, after] - before)

    def false_reject_rate_at(self, false_accept_rate: float) -> np.ndarray:
        first = np.argmax(self.false_accept <= false_accept_rate + ROUNDING, axis=1)
        return self.miss[np.arange(len(first)), first]

    def min_dcf(self, target_prior: float = 0.01) -> np.ndarray:
        return _cost(self.miss, self.false_accept, target_prior).min(axis=1)

    def min_cllr(self) -> np.ndarray:
        # Thresholds of one kind of trial in a row pool to the same share, whatever their weights.
        kind = np.stack([self._own.any(axis=0), self._other.any(axis=0)])
        changed = (kind[:, 1:] != kind[:, :-1]).any(axis=0)
        starts = np.flatnonzero(np.append(True, changed | (kind[0] & kind[1])[1:]))
        own = np.add.reduceat(self._own, starts, axis=1)
        other = np.add.reduceat(self._other, starts, axis=1)
        own = _share(own, 2 * own.sum(axis=1))
        total = own + _share(other, 2 * other.sum(axis=1))
        return np.array([_pooled_cost(*pair) for pair in zip(own, total, strict=True)])


def resampled_cllr(ratios: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """cllr() under resamples: ratios (n,) natural log, target (n,) bool, weights (resamples, n) -> (resamples,)."""
    costs = np.logaddexp(0, np.where(target, -ratios, ratios)) / math.log(2)
    return (weighted_mean(costs[target], weights[:, target]) + weighted_mean(costs[~target], weights[:, ~target])) / 2


def resampled_dcf(
    ratios: np.ndarray, target: np.ndarray, weights: np.ndarray, target_prior: float = 0.01
) -> np.ndarray:
    """actual_dcf() under resamples: ratios (n,) natural log, target (n,) bool, weights (resamples, n)."""
    accepted = (ratios >= -math.log(target_prior / (1 - target_prior))).astype(float)
    miss = weighted_mean(1 - accepted[target], weights[:, target])
    return _cost(miss, weighted_mean(accepted[~target], weights[:, ~target]), target_prior)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """values (n,), weights (resamples, n) -> (resamples,); NaN where a resample weighs nothing."""
    return _share((weights @ values)[:, None], weights.sum(axis=1))[:, 0]


def _share(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(r, k) over (r,); NaN where the whole is nothing."""
    return parts / np.where(whole > 0, whole, np.nan)[:, None]


def _pooled(own: list[float], total: list[float]) -> list[tuple[float, float, int]]:
    """Blocks (target mass, mass, distinct scores) whose shares of targets rise, from those of each score in order."""
    blocks: list[tuple[float, float, int]] = []
    for mass, whole in zip(own, total, strict=True):
        count = 1
        while blocks and blocks[-1][0] * whole >= mass * blocks[-1][1]:  # the share must rise
            before = blocks.pop()
            mass, whole, count = mass + before[0], whole + before[1], count + before[2]
        blocks.append((mass, whole, count))
    return blocks


def _pooled_cost(own: np.ndarray, total: np.ndarray) -> float:
    """Cllr in bits of the pooled blocks; target masses (k,) sum to one half, all masses to one."""
    if not np.isfinite(total).all():
        return math.nan
    held = total > 0
    blocks = np.array([block[:2] for block in _pooled(own[held].tolist(), total[held].tolist())])
    mass, other = blocks[:, 0], np.maximum(blocks[:, 1] - blocks[:, 0], 0)
    cost = sum(part[part > 0] @ np.log2(part[part > 0] / blocks[part > 0, 1]) for part in (mass, other))
    return max(0.0, -float(cost))


def _cost(miss: np.ndarray, false_accept: np.ndarray, prior: float) -> np.ndarray:
    return (prior * miss + (1 - prior) * false_accept) / min(prior, 1 - prior)


def _checked(target: np.ndarray, impostor: np.ndarray, *, infinite: bool = False) -> tuple[np.ndarray, np.ndarray]:
    target, impostor = np.asarray(target, dtype=np.float64), np.asarray(impostor, dtype=np.float64)
    if not len(target) or not len(impostor):
        raise ValueError("error rates need target and impostor trials")
    for scores in (target, impostor):
        if np.isnan(scores).any() or (not infinite and np.isinf(scores).any()):
            raise ValueError("error rates need scores that are numbers")
    return target, impostor
