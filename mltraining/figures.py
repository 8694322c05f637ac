"""Measured figures for people: each with its 95 % interval and the trials that stand behind it.

What is stored stays as it was measured. A figure in an answer has the shape of ``speech.evaluation.figures.Figure``:
``{value, low, high, target_trials, impostor_trials, speakers}``, with null for what is not known. Pure Python, because
web processes import it.
"""

import math
from collections.abc import Mapping
from typing import Any

from mltraining.speech.evaluation.intervals import MIN_TRIALS, rate_interval

# The trials that each of a training's figures is a share of.
OF_TARGETS = frozenset({"rank_one", "false_reject_rate", "genuine_over_threshold"})
OF_IMPOSTORS = frozenset({"false_accept_rate", "impostor_over_threshold"})
# Both kinds: the variance of the area under the curve is at most A (1 - A) / n for the smaller number n of trials
# (Birnbaum and Klose, "Bounds for the variance of the Mann-Whitney statistic", 1957).
OF_BOTH = frozenset({"roc_auc", "eer"})


def finite(values: Any) -> Any:
    """Return ``values`` as a JSON column takes them: a number that is not finite becomes null."""
    if isinstance(values, dict):
        return {str(key): finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values


def with_intervals(metrics: Mapping[str, Any], counts: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return ``metrics`` with every rate as a figure, by the numbers of target and impostor trials beside it.

    A group within the metrics that has no numbers of its own takes ``counts``, those of the group around it. Without
    any, a rate has no value: nobody knows what stands behind it.
    """
    if "target_trials" in metrics and "impostor_trials" in metrics:
        counts = (int(metrics["target_trials"]), int(metrics["impostor_trials"]))
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found[name] = dict(value) if is_figure(value) else with_intervals(value, counts)
        elif name in OF_TARGETS | OF_IMPOSTORS | OF_BOTH:
            found[name] = _figure(name, value, counts)
        else:
            found[name] = value
    return found


def is_figure(value: Any) -> bool:
    """Return whether ``value`` has the shape of a figure."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys()


def in_words(figure: Mapping[str, Any]) -> str:
    """Describe a figure: "0.042 (0.026 to 0.067; 33 target, 47652 impostor trials)"."""
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    targets, impostors = figure.get("target_trials"), figure.get("impostor_trials")
    behind = "number of trials unknown" if targets is None else f"{targets} target, {impostors} impostor trials"
    interval = "" if low is None or high is None else f"{low:.3g} to {high:.3g}; "
    shown = f"{value:.3g}" if value is not None else "not measurable" if targets is None else "too few trials"
    return f"{shown} ({interval}{behind})"


def _figure(name: str, rate: float | None, counts: tuple[int, int] | None) -> dict[str, Any]:
    value = low = high = targets = impostors = None
    if counts is not None:
        targets, impostors = counts
        trials = targets if name in OF_TARGETS else impostors if name in OF_IMPOSTORS else min(counts)
        if rate is not None and trials:
            low, high = rate_interval(rate, trials)
            value = rate if trials >= MIN_TRIALS else None
    return {
        "value": value,
        "low": low,
        "high": high,
        "target_trials": targets,
        "impostor_trials": impostors,
        "speakers": None,
    }
