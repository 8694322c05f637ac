"""Cosine scores, voiceprints, and the calibration that makes a score a probability."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# On the slope of standardised scores, beside a loss whose weights sum to one. Trials that a threshold separates
# perfectly have no finite maximum-likelihood slope; this much keeps it finite and moves an ordinary fit by under 1 %.
RIDGE = 1e-4
MAX_ITERATIONS = 100

Score = TypeVar("Score", float, np.ndarray)


def cosine(embedding: np.ndarray, voiceprints: np.ndarray) -> np.ndarray:
    """embedding (d,), voiceprints (n, d), both of unit length -> (n,) in [-1, 1]."""
    return np.clip(voiceprints @ embedding, -1, 1)


def mean_voiceprint(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The direction of the weighted mean: embeddings (k, d), weights (k,) >= 0 -> (d,) float32, unit length.

    Raises ValueError where nothing has weight, or the embeddings cancel out.
    """
    mean = np.asarray(weights, dtype=np.float64) @ np.asarray(embeddings, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError("the embeddings have no mean direction")
    return (mean / length).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """An affine map from cosine to natural-log likelihood ratio, and the prior that makes it a probability.

    ``prior``: probability of a target trial, in (0, 1). ``version``: short hash of the other three.
    """

    slope: float
    offset: float
    prior: float
    version: str

    @classmethod
    def of(cls, slope: float, offset: float, prior: float) -> "Calibration":
        """Raises ValueError for a number that is not finite, or a prior outside (0, 1)."""
        if not (math.isfinite(slope) and math.isfinite(offset) and 0 < prior < 1):
            raise ValueError("a calibration needs finite numbers and a prior between 0 and 1")
        content = json.dumps([float(slope), float(offset), float(prior)])
        return cls(float(slope), float(offset), float(prior), hashlib.sha256(content.encode()).hexdigest()[:12])

    def log_likelihood_ratio(self, cosine: Score) -> Score:
        """ln p(cosine | same speaker) / p(cosine | other speaker)."""
        return self.slope * cosine + self.offset

    def probability(self, log_likelihood_ratio: Score) -> Score:
        """Posterior probability of the same speaker: sigmoid(llr + logit(prior))."""
        logit = log_likelihood_ratio + math.log(self.prior / (1 - self.prior))
        # tanh overflows nowhere, for numbers as for arrays
        return 0.5 * (1 + np.tanh(0.5 * logit))


def fit_calibration(target_scores: np.ndarray, impostor_scores: np.ndarray, prior: float) -> Calibration:
    """Prior-weighted logistic regression (Brümmer and du Preez, 2006), by Newton's method.

    Targets weigh ``prior`` together and impostors 1 - prior, however many there are of each. See RIDGE for trials
    that are separated perfectly. Scores that do not vary, or that are higher for impostors, carry no evidence: slope 0.

    Raises ValueError for an empty set, scores that are not finite, or a prior outside (0, 1).
    """
    target, impostor = np.asarray(target_scores, dtype=np.float64), np.asarray(impostor_scores, dtype=np.float64)
    if not len(target) or not len(impostor):
        raise ValueError("a calibration needs target and impostor trials")
    if not (np.isfinite(target).all() and np.isfinite(impostor).all()):
        raise ValueError("a calibration needs finite scores")
    if not 0 < prior < 1:
        raise ValueError("the prior must be between 0 and 1")
    center = (target.mean() + impostor.mean()) / 2
    spread = math.sqrt((np.mean((target - center) ** 2) + np.mean((impostor - center) ** 2)) / 2)
    if spread < 1e-12 or target.mean() <= impostor.mean():
        return Calibration.of(0.0, 0.0, prior)

    scores = (np.concatenate([target, impostor]) - center) / spread
    sign = np.concatenate([np.ones(len(target)), -np.ones(len(impostor))])
    weight = np.concatenate(
        [np.full(len(target), prior / len(target)), np.full(len(impostor), (1 - prior) / len(impostor))]
    )
    slope, offset = _minimise(scores, sign, weight, math.log(prior / (1 - prior)))
    return Calibration.of(slope / spread, offset - slope * center / spread, prior)


def _minimise(scores: np.ndarray, sign: np.ndarray, weight: np.ndarray, prior_logit: float) -> tuple[float, float]:
    """(slope, offset) that minimise the weighted logistic loss plus RIDGE / 2 * slope²: a strictly convex problem."""
    design = np.stack([scores, np.ones_like(scores)])  # (2, trials)
    ridge = np.array([RIDGE, 0.0])

    def loss(parameters: np.ndarray) -> float:
        margins = sign * (parameters @ design + prior_logit)
        return float(weight @ np.logaddexp(0, -margins) + 0.5 * ridge @ parameters**2)

    parameters = np.zeros(2)
    for _ in range(MAX_ITERATIONS):
        margins = sign * (parameters @ design + prior_logit)
        wrong = 0.5 * (1 - np.tanh(margins / 2))  # 1 - p(true label)
        gradient = -(design @ (weight * sign * wrong)) + ridge * parameters
        hessian = (design * (weight * wrong * (1 - wrong))) @ design.T + np.diag(ridge + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        size, before = 1.0, loss(parameters)
        while size > 1e-8 and loss(parameters - size * step) > before:
            size /= 2
        parameters = parameters - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return float(parameters[0]), float(parameters[1])
