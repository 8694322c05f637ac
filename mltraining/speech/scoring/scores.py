"""Scores, voiceprints, score normalisation, and the calibration that makes a score a probability."""

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

# On the slopes of standardised columns, beside a loss whose weights sum to one. Trials that a threshold separates
# perfectly have no finite maximum-likelihood slope; this much keeps it finite and moves an ordinary fit by under 1 %.
RIDGE = 1e-4
MAX_ITERATIONS = 100

COHORT_TOP = 100  # the closest cohort speakers that a score is normalised with
MIN_DEVIATION = 1e-3  # of cosines; a cohort whose closest speakers are all as close says nothing
COHORT_ROWS = 1024  # vectors compared with the cohort at once bound the memory

# Seconds and decibels outside of these count as the nearest: the trials that the calibration that ships is fitted on
# hold no more (the dev speakers enroll with 4.8 to 19.9 s), and no weight is to be trusted where nothing was measured.
TEST_SPEECH_SECONDS, ENROLLMENT_SPEECH_SECONDS, SNR_DB = (0.3, 30.0), (4.0, 20.0), (0.0, 40.0)

Score = TypeVar("Score", float, np.ndarray)
Statistics = tuple[np.ndarray, np.ndarray]  # mean (k,) and standard deviation (k,) of cosines to the cohort


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


class Cohort:
    """Speakers whom a score is compared with: adaptive symmetric score normalisation (AS-norm).

    A voiceprint or a clip that is close to everybody gives high cosines to impostors, too. The mean and the deviation
    of its cosines to the speakers closest to it take that out (Matejka et al., "Analysis of score normalization in
    multilingual speaker recognition", 2017, who call this variant AS-norm1).
    """

    def __init__(self, means: np.ndarray, top: int = COHORT_TOP) -> None:
        """``means``: (n, d), each training speaker's mean embedding. Raises ValueError for fewer than two speakers."""
        means = np.asarray(means, dtype=np.float32)
        if means.ndim != 2 or len(means) < 2 or top < 2:
            raise ValueError("a cohort needs at least two speakers")
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or lengths.min() < 1e-6:
            raise ValueError("a cohort needs means of a finite length")
        self.means = means / lengths
        self.top = min(top, len(means))

    def statistics(self, vectors: np.ndarray) -> Statistics:
        """vectors (k, d), unit length -> mean (k,) and deviation (k,) of the ``top`` highest cosines, float64."""
        mean, deviation = np.empty(len(vectors)), np.empty(len(vectors))
        for first in range(0, len(vectors), COHORT_ROWS):
            rows = slice(first, first + COHORT_ROWS)
            cosines = np.asarray(vectors[rows], dtype=np.float32) @ self.means.T
            closest = np.partition(cosines, -self.top, axis=1)[:, -self.top :].astype(np.float64)
            mean[rows], deviation[rows] = closest.mean(axis=1), closest.std(axis=1)
        return mean, np.maximum(deviation, MIN_DEVIATION)

    @staticmethod
    def normalise(scores: np.ndarray, voiceprints: Statistics, test: Statistics) -> np.ndarray:
        """The mean of both sides' z-scores: scores (n,), statistics of (n,) voiceprints and of (1,) or (n,) clips."""
        return ((scores - voiceprints[0]) / voiceprints[1] + (scores - test[0]) / test[1]) / 2


@dataclass(frozen=True, eq=False)
class Conditions:
    """What a score was measured under: numbers for one trial, arrays (n,) for many, or both.

    Net speech in seconds, of the test clip and over all enrollment clips; ``snr_db`` is the test clip's.
    """

    test_speech_seconds: float | np.ndarray
    enrollment_speech_seconds: float | np.ndarray
    snr_db: float | np.ndarray

    def features(self) -> np.ndarray:
        """What a calibration weighs, (3,) or (3, n): ln seconds, ln seconds, tens of decibels, each clipped."""
        columns = (
            np.log(np.clip(self.test_speech_seconds, *TEST_SPEECH_SECONDS)),
            np.log(np.clip(self.enrollment_speech_seconds, *ENROLLMENT_SPEECH_SECONDS)),
            np.clip(self.snr_db, *SNR_DB) / 10,
        )
        return np.stack(np.broadcast_arrays(*columns)).astype(np.float64)

    def take(self, rows: np.ndarray) -> "Conditions":
        """Those of some trials, where all are arrays (n,): ``rows`` indexes or masks them."""
        return Conditions(
            *(
                np.asarray(each)[rows]
                for each in (self.test_speech_seconds, self.enrollment_speech_seconds, self.snr_db)
            )
        )


Weights = tuple[float, float, float]
NO_WEIGHTS: Weights = (0.0, 0.0, 0.0)
Thresholds = tuple[tuple[float, float], ...]
FALSE_ACCEPT_RATES = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)


@dataclass(frozen=True)
class Calibration:
    """A map from score to natural-log likelihood ratio, and the prior that makes it a probability.

    The ratio is offset + slope * score + weights · features of the trial's conditions: a short or noisy clip shifts
    what a score is worth (Mandasari et al., "Quality measure functions for calibration of speaker recognition
    systems in various duration conditions", 2013). ``prior``: probability of a target trial, in (0, 1).
    ``thresholds``: (false-accept rate, log-likelihood ratio) for the rates that the trials it was fitted on support,
    the highest rate first. ``version``: short hash of all the numbers.
    """

    slope: float
    offset: float
    prior: float
    version: str
    weights: Weights = NO_WEIGHTS
    thresholds: Thresholds = ()

    @classmethod
    def of(
        cls, slope: float, offset: float, prior: float, weights: Weights = NO_WEIGHTS, thresholds: Thresholds = ()
    ) -> "Calibration":
        """Raises ValueError for a number that is not finite, or a prior outside (0, 1)."""
        by_rate = tuple((float(rate), float(ratio)) for rate, ratio in thresholds)
        numbers_given = (slope, offset, *weights, *(number for pair in by_rate for number in pair))
        if not (all(map(math.isfinite, numbers_given)) and 0 < prior < 1):
            raise ValueError("a calibration needs finite numbers and a prior between 0 and 1")
        if len(weights) != len(NO_WEIGHTS):
            raise ValueError(f"a calibration has {len(NO_WEIGHTS)} weights")
        numbers = [float(slope), float(offset), float(prior)]
        weighed = tuple(float(weight) for weight in weights)
        # Without weights or thresholds the version is that of before there were any: stored decisions name it.
        content = json.dumps([*numbers, *(weighed if any(weighed) else ()), *by_rate])
        version = hashlib.sha256(content.encode()).hexdigest()[:12]
        return cls(numbers[0], numbers[1], numbers[2], version, (weighed[0], weighed[1], weighed[2]), by_rate)

    def with_thresholds(self, target: np.ndarray, impostor: np.ndarray) -> "Calibration":
        """With a threshold for each of FALSE_ACCEPT_RATES that the trials support; ratios (n,) and (m,)."""
        found = []
        for rate in FALSE_ACCEPT_RATES:
            with suppress(UnsupportedRate):
                found.append((rate, threshold_for(target, impostor, rate)))
        return Calibration.of(self.slope, self.offset, self.prior, self.weights, tuple(found))

    def threshold_at(self, target_far: float) -> float | None:
        """The probability to accept from so that at most ``target_far`` of the impostors are; None: not supported.

        Between two rates that were measured the stricter one counts.
        """
        supported = [ratio for rate, ratio in self.thresholds if rate <= target_far * (1 + 1e-9)]
        # A threshold of 1 would refuse everybody whose probability rounds to less.
        return min(float(self.probability(supported[0])), math.nextafter(1, 0)) if supported else None

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Calibration":
        """The inverse of ``to_dict``; without weights they are 0. Raises ValueError where the version is another's."""
        weights = tuple(content.get("weights", NO_WEIGHTS))
        thresholds = tuple((rate, ratio) for rate, ratio in content.get("thresholds", ()))
        found = cls.of(content["slope"], content["offset"], content["prior"], weights, thresholds)
        if found.version != content["version"]:
            raise ValueError("the calibration is not its version's")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        numbers = {"slope": self.slope, "offset": self.offset, "prior": self.prior}
        thresholds = [list(pair) for pair in self.thresholds]
        return numbers | {"weights": list(self.weights), "thresholds": thresholds, "version": self.version}

    def log_likelihood_ratio(self, score: Score, conditions: Conditions | None = None) -> Score:
        """ln p(score | same speaker) / p(score | other speaker), under ``conditions``: for one trial or (n,).

        Raises ValueError where they are missing and have weight.
        """
        ratio = self.slope * score + self.offset
        if not any(self.weights):
            return ratio
        if conditions is None:
            raise ValueError("this calibration needs the conditions of a trial")
        return ratio + np.asarray(self.weights) @ conditions.features()

    def probability(self, log_likelihood_ratio: Score) -> Score:
        """Posterior probability of the same speaker: sigmoid(llr + logit(prior))."""
        logit = log_likelihood_ratio + math.log(self.prior / (1 - self.prior))
        # tanh overflows nowhere, for numbers as for arrays
        return 0.5 * (1 + np.tanh(0.5 * logit))


def fit_calibration(
    target_scores: np.ndarray,
    impostor_scores: np.ndarray,
    prior: float,
    *,
    target_conditions: Conditions | None = None,
    impostor_conditions: Conditions | None = None,
) -> Calibration:
    """Prior-weighted logistic regression (Brümmer and du Preez, 2006), by Newton's method.

    Over the scores (n,) and (m,) alone or, with the ``conditions`` of both kinds, over their features as well.
    Targets weigh ``prior`` together and impostors 1 - prior, however many there are of each. See RIDGE for trials
    that are separated perfectly. A condition that does not vary gets no weight. Scores that do not vary, or that are
    higher for impostors, carry no evidence: slope and weights are 0.

    Raises ValueError for an empty set, numbers that are not finite, a prior outside (0, 1), or conditions of one kind
    of trials only.
    """
    if (target_conditions is None) != (impostor_conditions is None):
        raise ValueError("a calibration needs the conditions of both kinds of trials, or of none")
    target, impostor = _columns(target_scores, target_conditions), _columns(impostor_scores, impostor_conditions)
    if not target.shape[1] or not impostor.shape[1]:
        raise ValueError("a calibration needs target and impostor trials")
    if not (np.isfinite(target).all() and np.isfinite(impostor).all()):
        raise ValueError("a calibration needs finite scores and conditions")
    if not 0 < prior < 1:
        raise ValueError("the prior must be between 0 and 1")
    center = (target.mean(axis=1) + impostor.mean(axis=1)) / 2
    variances = [((each - center[:, None]) ** 2).mean(axis=1) for each in (target, impostor)]
    spread = np.sqrt((variances[0] + variances[1]) / 2)
    if spread[0] < 1e-12 or target[0].mean() <= impostor[0].mean():
        return Calibration.of(0.0, 0.0, prior)

    varying = spread >= 1e-12
    columns = (np.concatenate([target, impostor], axis=1) - center[:, None])[varying] / spread[varying, None]
    sign = np.repeat([1.0, -1.0], [target.shape[1], impostor.shape[1]])
    weight = np.where(sign > 0, prior / target.shape[1], (1 - prior) / impostor.shape[1])
    *slopes, offset = _minimise(columns, sign, weight, math.log(prior / (1 - prior)))
    found = np.zeros(1 + len(NO_WEIGHTS))
    found[np.flatnonzero(varying)] = np.array(slopes) / spread[varying]
    return Calibration.of(found[0], offset - found[: len(center)] @ center, prior, (found[1], found[2], found[3]))


def _columns(scores: np.ndarray, conditions: Conditions | None) -> np.ndarray:
    """Scores and, with conditions, their features below: (1, n) or (4, n)."""
    scores = np.asarray(scores, dtype=np.float64)[None]
    if conditions is None:
        return scores
    features = conditions.features().reshape(len(NO_WEIGHTS), -1)
    return np.concatenate([scores, np.broadcast_to(features, (len(NO_WEIGHTS), scores.shape[1]))])


def _minimise(columns: np.ndarray, sign: np.ndarray, weight: np.ndarray, prior_logit: float) -> list[float]:
    """The columns' slopes and the offset that minimise the weighted logistic loss plus RIDGE / 2 * |slopes|².

    ``columns`` (c, trials), ``sign`` and ``weight`` (trials,): a strictly convex problem.
    """
    design = np.concatenate([columns, np.ones((1, columns.shape[1]))])
    ridge = np.append(np.full(len(columns), RIDGE), 0.0)

    def loss(parameters: np.ndarray) -> float:
        margins = sign * (parameters @ design + prior_logit)
        return float(weight @ np.logaddexp(0, -margins) + 0.5 * ridge @ parameters**2)

    parameters = np.zeros(len(design))
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
    return [float(parameter) for parameter in parameters]


def cross_fit(
    scores: np.ndarray,
    is_target: np.ndarray,
    speakers: np.ndarray,
    test_speakers: np.ndarray,
    conditions: Conditions | None,
    prior: float,
    halves: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Log-likelihood ratios (n,) of trials by calibrations that have heard neither of their speakers.

    ``scores`` (n,), ``is_target`` (n,) bool, the claimed ``speakers`` (n,) and who speaks, ``test_speakers`` (n,);
    ``conditions`` are arrays (n,). The speakers are dealt to ``halves``; the trials within one are calibrated by the
    trials within the others. NaN: trials across, and halves whose others lack targets or impostors.
    """
    names, indices = np.unique(np.concatenate([speakers, test_speakers]).astype(str), return_inverse=True)
    half = (np.random.default_rng(seed).permutation(len(names)) % halves)[indices].reshape(2, -1)
    ratios = np.full(len(scores), np.nan)
    for number in range(halves):
        inside, outside = (half == number).all(axis=0), (half != number).all(axis=0)
        target, impostor = outside & is_target, outside & ~is_target
        if not (inside.any() and target.any() and impostor.any()):
            continue
        calibration = fit_calibration(
            scores[target],
            scores[impostor],
            prior,
            target_conditions=conditions and conditions.take(target),
            impostor_conditions=conditions and conditions.take(impostor),
        )
        ratios[inside] = calibration.log_likelihood_ratio(scores[inside], conditions and conditions.take(inside))
    return ratios


class UnsupportedRate(ValueError):
    """There are too few impostor trials to measure a false-accept rate this low."""

    code: ClassVar[str] = "unsupported_rate"

    def __init__(self, target_far: float, trials: int, needed: int) -> None:
        self.target_far, self.trials, self.needed = target_far, trials, needed
        super().__init__(
            f"a false-accept rate of {target_far:g} needs at least {needed} impostor trials, there are {trials}"
        )


def check_supported(target_far: float, impostor_trials: int) -> None:
    """The rule of three: without one false accept in n trials, the rate is at most 3 / n with 95 % confidence.

    Raises UnsupportedRate for fewer trials than 3 / target_far, ValueError for a rate outside (0, 1).
    """
    if not 0 < target_far < 1:
        raise ValueError("the false-accept rate must be between 0 and 1")
    needed = math.ceil(3 / target_far - 1e-9)
    if impostor_trials < needed:
        raise UnsupportedRate(target_far, impostor_trials, needed)


def threshold_for(target: np.ndarray, impostor: np.ndarray, target_far: float) -> float:
    """The lowest threshold on the log-likelihood ratio whose measured false-accept rate is <= ``target_far``.

    ``target`` (n,) and ``impostor`` (m,); a trial is accepted at or above the threshold, which is put in the middle
    of the gap between two trials, where rounding changes no decision. Raises UnsupportedRate, see check_supported.
    """
    check_supported(target_far, len(impostor))
    allowed = min(math.floor(target_far * len(impostor) + 1e-9), len(impostor) - 1)
    refused = float(np.partition(impostor, len(impostor) - 1 - allowed)[len(impostor) - 1 - allowed])
    above = np.concatenate([target, impostor])
    above = above[above > refused]
    if not len(above):
        return float(np.nextafter(refused, np.inf))
    accepted = float(above.min())
    middle = refused + (accepted - refused) / 2
    return middle if middle > refused else accepted
