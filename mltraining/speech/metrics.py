"""Error rates of speaker verification and identification.

Everywhere ``target`` (n,) are the scores of trials of the same speaker and ``impostor`` (m,) those of different
speakers, higher meaning more alike; a trial is accepted where its score >= the threshold. Empty sets and scores that
are not numbers raise ValueError.
"""

import math
from dataclasses import dataclass

import numpy as np


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
    """Cllr after the best monotone recalibration (pool adjacent violators): what discrimination alone costs."""
    target, impostor = _checked(target, impostor)
    values, group = np.unique(np.concatenate([target, impostor]), return_inverse=True)
    # Each class weighs one half, so that the pooled share is a posterior at even odds.
    own = np.bincount(group[: len(target)], minlength=len(values)) / len(target) / 2
    all_ = own + np.bincount(group[len(target) :], minlength=len(values)) / len(impostor) / 2
    blocks: list[tuple[float, float, int]] = []  # (target mass, mass, distinct scores)
    for mass, total in zip(own.tolist(), all_.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] * total >= mass * blocks[-1][1]:  # the share must rise
            before = blocks.pop()
            mass, total, count = mass + before[0], total + before[1], count + before[2]
        blocks.append((mass, total, count))
    share = np.array([mass / total for mass, total, _ in blocks]).clip(0, 1)
    with np.errstate(divide="ignore"):
        ratios = np.repeat(np.log(share) - np.log1p(-share), [count for _, _, count in blocks])[group]
    return cllr(ratios[: len(target)], ratios[len(target) :])


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
