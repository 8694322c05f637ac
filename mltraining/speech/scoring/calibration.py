"""Calibration: the map from a score to a log-likelihood ratio and a probability, and the thresholds on it.

Applying a calibration needs no more than numpy. Fitting one is in ``evaluation.fitting``.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from mltraining.speech.scoring.quality_measures import QualityMeasures

Number = TypeVar("Number", float, np.ndarray)
Weights = tuple[float, float, float]
Thresholds = tuple[tuple[float, float], ...]

NO_WEIGHTS: Weights = (0.0, 0.0, 0.0)
FALSE_ACCEPT_RATES = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)


@dataclass(frozen=True)
class Calibration:
    """A map from a score to a natural-log likelihood ratio, and the prior that makes the ratio a probability.

    The ratio is offset + slope * score + weights · features of the quality measures, because a short or noisy clip
    shifts what a score is worth (Mandasari et al., "Quality measure functions for calibration of speaker recognition
    systems in various duration conditions", 2013). ``prior`` is the probability of a target trial, in (0, 1).
    ``thresholds`` are pairs (false-accept rate, log-likelihood ratio), the highest rate first, for those rates that the
    trials support. ``version`` is a short hash of all the numbers.
    """

    slope: float
    offset: float
    prior: float
    version: str
    weights: Weights = NO_WEIGHTS
    thresholds: Thresholds = ()

    @classmethod
    def of(
        cls,
        slope: float,
        offset: float,
        prior: float,
        weights: Sequence[float] = NO_WEIGHTS,
        thresholds: Sequence[Sequence[float]] = (),
    ) -> "Calibration":
        """Make a calibration and its version.

        Raises ValueError for a number that is not finite, or a prior outside (0, 1).
        """
        if len(weights) != len(NO_WEIGHTS):
            raise ValueError(f"a calibration has {len(NO_WEIGHTS)} weights, not {len(weights)}")
        first, second, third = (float(weight) for weight in weights)
        by_rate = tuple((float(rate), float(ratio)) for rate, ratio in thresholds)
        numbers = (float(slope), float(offset), float(prior), first, second, third)
        if not (
            all(map(math.isfinite, (*numbers, *(number for pair in by_rate for number in pair)))) and 0 < prior < 1
        ):
            raise ValueError("a calibration needs finite numbers and a prior between 0 and 1")
        # Zero weights are left out, so that decisions stored before there were weights still name the right version.
        content = json.dumps([*(numbers if any(numbers[3:]) else numbers[:3]), *by_rate])
        version = hashlib.sha256(content.encode()).hexdigest()[:12]
        return cls(*numbers[:3], version, (first, second, third), by_rate)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Calibration":
        """Read what ``to_dict`` gave. Raises ValueError where the version does not belong to the numbers."""
        weights, thresholds = content.get("weights", NO_WEIGHTS), content.get("thresholds", ())
        found = cls.of(content["slope"], content["offset"], content["prior"], weights, thresholds)
        if found.version != content["version"]:
            raise ValueError(f"calibration {content['version']} holds the numbers of version {found.version}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers and the version as JSON values."""
        numbers = {"slope": self.slope, "offset": self.offset, "prior": self.prior}
        thresholds = [list(pair) for pair in self.thresholds]
        return numbers | {"weights": list(self.weights), "thresholds": thresholds, "version": self.version}

    def with_thresholds(
        self, target: np.ndarray, impostor: np.ndarray, weights: np.ndarray | None = None
    ) -> "Calibration":
        """Add a threshold for each of FALSE_ACCEPT_RATES that the trials support.

        ``target`` (n,) and ``impostor`` (m,) are log-likelihood ratios under this calibration; ``weights`` (m,) are of
        the impostor trials, all alike where None.
        """
        found = []
        for rate in FALSE_ACCEPT_RATES:
            with suppress(UnsupportedRate):  # a lower rate needs more trials
                found.append((rate, threshold_for(target, impostor, rate, weights)))
        return Calibration.of(self.slope, self.offset, self.prior, self.weights, found)

    def threshold_at(self, target_far: float) -> float | None:
        """Return the probability to accept from so that at most ``target_far`` of impostors are accepted.

        Between two rates that were measured, the stricter one counts. None: the trials support no such rate.
        """
        supported = [ratio for rate, ratio in self.thresholds if rate <= target_far * (1 + 1e-9)]
        return self.threshold_probability(supported[0]) if supported else None

    def threshold_probability(self, log_likelihood_ratio: float) -> float:
        """Return the threshold on the probability that a threshold on the log-likelihood ratio stands for.

        It is below 1: a threshold of 1 would refuse everybody.
        """
        return min(float(self.probability(log_likelihood_ratio)), math.nextafter(1, 0))

    def log_likelihood_ratio(self, score: Number, measures: QualityMeasures | None = None) -> Number:
        """Return ln p(score | same speaker) / p(score | different speakers), for one trial or for (n,).

        Raises ValueError where the calibration weighs quality measures and there are none.
        """
        ratio = self.slope * score + self.offset
        if not any(self.weights):
            return ratio
        if measures is None:
            raise ValueError("this calibration needs the quality measures of a trial")
        return ratio + np.asarray(self.weights) @ measures.features()

    def probability(self, log_likelihood_ratio: Number) -> Number:
        """Return the posterior probability of the same speaker: sigmoid(ratio + logit(prior))."""
        logit = log_likelihood_ratio + math.log(self.prior / (1 - self.prior))
        return 0.5 * (1 + np.tanh(0.5 * logit))  # unlike exp, tanh never overflows


class UnsupportedRate(ValueError):
    """There are too few impostor trials to measure a false-accept rate this low."""

    code: ClassVar[str] = "unsupported_rate"

    def __init__(self, target_far: float, trials: int, needed: int) -> None:
        self.target_far, self.trials, self.needed = target_far, trials, needed
        super().__init__(
            f"a false-accept rate of {target_far:g} needs at least {needed} impostor trials, there are {trials}"
        )


def check_supported(target_far: float, impostor_trials: int) -> None:
    """Apply the rule of three: no false accept in n independent trials bounds the rate at 3 / n with 95 % confidence.

    Raises UnsupportedRate for fewer trials than 3 / target_far, ValueError for a rate outside (0, 1).
    """
    if not 0 < target_far < 1:
        raise ValueError(f"the target false-accept rate must be between 0 and 1, not {target_far:g}")
    needed = math.ceil(3 / target_far - 1e-9)
    if impostor_trials < needed:
        raise UnsupportedRate(target_far, impostor_trials, needed)


def threshold_for(
    target: np.ndarray, impostor: np.ndarray, target_far: float, weights: np.ndarray | None = None
) -> float:
    """Return the lowest log-likelihood ratio to accept from whose measured false-accept rate is <= ``target_far``.

    ``target`` (n,) and ``impostor`` (m,) are log-likelihood ratios; ``weights`` (m,) say how much each impostor trial
    counts, all alike where None. The threshold lies in the middle of the gap between two trials, so that rounding
    changes no decision. Raises what ``check_supported`` raises.
    """
    check_supported(target_far, len(impostor))
    if weights is None:
        weights = np.ones(len(impostor))
    falling = np.argsort(-impostor, kind="stable")
    accepted_share = np.cumsum(weights[falling]) / weights.sum()
    allowed = int(np.searchsorted(accepted_share, target_far * (1 + 1e-9), side="right"))
    refused = float(impostor[falling[min(allowed, len(impostor) - 1)]])
    above = np.concatenate([target, impostor])
    above = above[above > refused]
    if not len(above):
        return float(np.nextafter(refused, np.inf))
    accepted = float(above.min())
    middle = refused + (accepted - refused) / 2
    return middle if middle > refused else accepted
