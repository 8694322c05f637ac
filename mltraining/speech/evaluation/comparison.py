"""Is a challenger better than the champion? Both on the same frozen trials, by paired bootstrap over speakers.

The challenger is better where, through G.711 (or in the first condition, where that was not heard), its EER or its
false-reject rate at a false-accept rate of 1 % is lower beyond the interval of the difference, and where in no slice
either of them is higher beyond it. Both models meet the same speakers in every resample, so that the speakers' own
luck cancels out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mltraining.speech.evaluation.evaluate import RESAMPLES, Slice, slices
from mltraining.speech.evaluation.hearing import G711, EvaluationError, Heard, Progress, TrialSet, silent
from mltraining.speech.evaluation.metrics import Estimate, ResampledTrials, resampled_speakers

FIGURES = {"eer": "EER", "false_reject_rate_at_1": "FRR at FAR 1 %"}


@dataclass(frozen=True)
class Difference:
    """One figure of one slice; ``change`` is the challenger's less the champion's, below 0 where it is better."""

    slice: str
    figure: str
    champion: float
    challenger: float
    change: Estimate

    def __str__(self) -> str:
        rates = f"{100 * self.champion:.2f} % -> {100 * self.challenger:.2f} %"
        low, high = 100 * self.change.low, 100 * self.change.high
        return f"{self.slice}: {FIGURES[self.figure]} {rates} (difference {low:+.2f} to {high:+.2f} points)"


@dataclass(frozen=True)
class Verdict:
    """``reasons``: one sentence each, for people."""

    better: bool
    reasons: list[str]
    differences: list[Difference]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    data: TrialSet,
    champion: Sequence[Heard],
    challenger: Sequence[Heard],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Verdict:
    """Both as hear() gave them, of the same trials in the same conditions. Raises EvaluationError ``no_trials``.

    ``progress`` counts slices.
    """
    weights = resampled_speakers(len(data.speakers), RESAMPLES, np.random.default_rng([seed, 1]))
    pairs = list(zip(slices(data, champion), slices(data, challenger), strict=True))
    if not pairs:
        raise EvaluationError("no_trials", "no condition has both target and impostor trials")
    differences: list[Difference] = []
    for number, (before, after) in enumerate(pairs, start=1):
        differences += _differences(data, before, after, weights)
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
    return Verdict(better=bool(gains) and not losses, reasons=reasons, differences=differences)


def _differences(data: TrialSet, before: Slice, after: Slice, weights: np.ndarray) -> list[Difference]:
    rates = []
    for each in (before, after):
        _, scores, target, (owner, claimed) = each.trials_of(data)
        trials = ResampledTrials(scores, target, weights[:, owner] * weights[:, claimed])
        rates.append({"eer": trials.equal_error_rate(), "false_reject_rate_at_1": trials.false_reject_rate_at(0.01)})
    return [
        Difference(before.name, name, float(old[0]), float(new[0]), Estimate.of(new - old))
        for name, old, new in ((name, rates[0][name], rates[1][name]) for name in FIGURES)
    ]
