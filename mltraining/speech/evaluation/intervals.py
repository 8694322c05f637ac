"""Intervals of measured rates. Pure Python, because web processes import it too."""

import math

# No error in 30 trials bounds the error rate at 10 % (rule of three). Fewer trials of a kind say next to nothing.
MIN_TRIALS = 30
Z = 1.959964  # of a normal distribution, for 95 %


def rate_interval(rate: float, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate measured on ``trials``.

    Of no error the upper end is at least the rule of three's 3 / trials, and of nothing but errors the lower end at
    most 1 - 3 / trials. The interval takes trials as independent. Those of one speaker are not, so over few speakers
    it is too narrow.
    """
    center = (rate + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + Z**2 / (4 * trials**2))
    low, high = max(0.0, center - half), min(1.0, center + half)
    if rate <= 0:
        return 0.0, min(1.0, max(high, 3 / trials))
    if rate >= 1:
        return max(0.0, min(low, 1 - 3 / trials)), 1.0
    return low, high
