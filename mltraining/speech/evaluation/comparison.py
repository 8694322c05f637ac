"""Champion and challenger on the same frozen trials: is the challenger better, by a paired bootstrap over speakers?

The challenger is better where, through G.711 (or in the first condition, where that is missing), its EER or its
false-reject rate at a false-accept rate of 1 % is lower beyond the interval of the difference, and where in no slice
either of them is higher beyond it. In every resample both models meet the same speakers, so that the luck of the draw
cancels out.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mltraining.speech.evaluation.conditions import G711, ConditionScores, TrialAudio
from mltraining.speech.evaluation.figures import Trials, percentile_interval
from mltraining.speech.evaluation.fitting import distribution
from mltraining.speech.evaluation.metrics import resampled_speakers
from mltraining.speech.evaluation.slices import RESAMPLES, Slice, slices
from mltraining.speech.evaluation.trials import EvaluationError, Progress, silent
from mltraining.speech.scoring.calibration import Calibration

FIGURES = {"eer": "EER", "false_reject_rate_at_1": "FRR at FAR 1 %"}


@dataclass(frozen=True)
class Change:
    """The challenger's figure less the champion's, with its 95 % interval. Below 0 the challenger is better."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Change":
        """Make a change of differences under resamples: (resamples + 1,), the first of the data as they are."""
        low, high = percentile_interval(values) or (math.nan, math.nan)
        return cls(float(values[0]), low, high)


@dataclass(frozen=True)
class Difference:
    """One figure of one slice under both models."""

    slice: str
    figure: str
    champion: float
    challenger: float
    change: Change
    trials: Trials

    def __str__(self) -> str:
        rates = f"{100 * self.champion:.2f} % -> {100 * self.challenger:.2f} %"
        low, high = 100 * self.change.low, 100 * self.change.high
        return f"{self.slice}: {FIGURES[self.figure]} {rates} (difference {low:+.2f} to {high:+.2f} points)"


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger is better, and why. ``reasons`` are one sentence each, for people.

    ``distributions`` tells how the log-likelihood ratios of the two models' trials are distributed in ``condition``, as
    ``fitting.distribution`` does, under the names ``champion`` and ``challenger``; empty without calibrations.
    """

    better: bool
    reasons: list[str]
    differences: list[Difference]
    condition: str = ""
    distributions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def compare(
    audio: TrialAudio,
    champion: Sequence[ConditionScores],
    challenger: Sequence[ConditionScores],
    *,
    calibrations: tuple[Calibration, Calibration] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Verdict:
    """Compare the scores of two models on the same trials in the same conditions. ``progress`` counts slices.

    ``calibrations``, of the champion and of the challenger, are those that the scores are read by.

    Raises EvaluationError ``no_trials`` where no condition has trials of both kinds.
    """
    weights = resampled_speakers(len(audio.speakers), RESAMPLES, np.random.default_rng([seed, 1]))
    pairs = list(zip(slices(audio, champion), slices(audio, challenger), strict=True))
    if not pairs:
        raise EvaluationError("no_trials", "no condition has both target and impostor trials")
    differences: list[Difference] = []
    for number, (before, after) in enumerate(pairs, start=1):
        differences += _differences(before, after, weights)
        progress(number, len(pairs))
    names = [before.name for before, _ in pairs]
    main = G711.name if G711.name in names else names[0]
    gains = [each for each in differences if each.slice == main and each.change.high < 0]
    losses = [each for each in differences if each.change.low > 0]
    reasons = [f"worse, {each}" for each in losses]
    if gains:
        reasons += [f"better, {each}" for each in gains]
    else:
        reasons += [f"not better beyond the interval, {each}" for each in differences if each.slice == main]
    distributions = {}
    if calibrations is not None:
        pair = next(pair for pair in pairs if pair[0].name == main)
        for name, part, read_by in zip(("champion", "challenger"), pair, calibrations, strict=True):
            distributions[name] = distribution([part.trials], read_by)
    return Verdict(bool(gains) and not losses, reasons, differences, main, distributions)


def _differences(before: Slice, after: Slice, weights: np.ndarray) -> list[Difference]:
    rates = []
    counts = Trials.of(before.trials.is_target, before.trials.speakers, before.trials.test_speakers)
    for each in (before, after):
        trials = each.resampled(weights)
        rates.append({"eer": trials.equal_error_rate(), "false_reject_rate_at_1": trials.false_reject_rate_at(0.01)})
    return [
        Difference(before.name, name, float(old[0]), float(new[0]), Change.of(new - old), counts)
        for name, old, new in ((name, rates[0][name], rates[1][name]) for name in FIGURES)
    ]
