"""A measured figure: its value, its 95 % interval, and the trials that stand behind it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mltraining.speech.evaluation.intervals import MIN_TRIALS, rate_interval


@dataclass(frozen=True)
class Trials:
    """How many trials of each kind a figure was measured on, and of how many speakers."""

    target_trials: int
    impostor_trials: int
    speakers: int

    @classmethod
    def of(cls, is_target: np.ndarray, *speakers: np.ndarray) -> "Trials":
        """Count trials: ``is_target`` (n,) bool, ``speakers`` arrays that name all who claim or speak."""
        count = int(is_target.sum())
        return cls(count, len(is_target) - count, len(np.unique(np.concatenate(speakers))))

    def support(self, targets: int = MIN_TRIALS, impostors: int = MIN_TRIALS) -> bool:
        """Return whether there are at least so many trials of each kind."""
        return self.target_trials >= targets and self.impostor_trials >= impostors


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval. ``value`` is None where the trials are too few to support one."""

    value: float | None
    low: float | None
    high: float | None
    target_trials: int
    impostor_trials: int
    speakers: int

    @classmethod
    def of_resamples(
        cls, values: np.ndarray, trials: Trials, *, impostors: int = MIN_TRIALS, is_rate: bool = False
    ) -> "Figure":
        """Make a figure with the percentile interval of a bootstrap.

        ``values`` (resamples + 1,) begin with the data as they are. A resample without a figure (NaN) is left out.
        With fewer trials than MIN_TRIALS of either kind, or fewer impostor trials than ``impostors``, there is neither
        a value nor an interval. Resamples of trials without an error know of no error, so a rate of 0 or of 1 gets the
        rule of three's bound, 3 / n, of the kind of which there are fewer.
        """
        if not (trials.support(impostors=max(impostors, MIN_TRIALS)) and np.isfinite(values[0])):
            return cls(None, None, None, **asdict(trials))
        interval = percentile_interval(values)
        if interval is None:
            return cls(float(values[0]), None, None, **asdict(trials))
        low, high = interval
        if is_rate:
            bound = 3 / min(trials.target_trials, trials.impostor_trials)
            high = max(high, bound) if values[0] <= 0 else high
            low = min(low, 1 - bound) if values[0] >= 1 else low
        return cls(float(values[0]), low, high, **asdict(trials))

    @classmethod
    def of_rate(cls, rate: float, count: int, trials: Trials) -> "Figure":
        """Make a figure of a ``rate`` of ``count`` trials, with Wilson's interval (see ``rate_interval``).

        Of fewer than MIN_TRIALS there is no value; the interval says what little is known.
        """
        low, high = rate_interval(rate, count) if count else (None, None)
        return cls(float(rate) if count >= MIN_TRIALS else None, low, high, **asdict(trials))

    @classmethod
    def of_errors(cls, errors: np.ndarray, trials: Trials) -> "Figure":
        """Make a figure of the share of ``errors`` (n,) bool, with Wilson's interval."""
        return cls.of_rate(float(errors.mean()) if len(errors) else 0.0, len(errors), trials)

    def percent(self) -> str:
        """Describe a rate for people: "1.25 % (95 %: 0.80 to 1.90 %)"."""
        shown = "too few trials" if self.value is None else f"{100 * self.value:.2f} %"
        if self.low is None or self.high is None:
            return shown
        return f"{shown} (95 %: {100 * self.low:.2f} to {100 * self.high:.2f} %)"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: value, low, high, target_trials, impostor_trials, speakers."""
        return asdict(self)


def percentile_interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of a bootstrap, values (resamples + 1,), the first of which is the data as they are.

    A resample without a figure (NaN) is left out; None where no resample has one.
    """
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
