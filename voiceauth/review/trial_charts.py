"""Charts of verification trials: the detection error trade-off (DET), the calibration, and how scores are distributed.

All are drawn from the distribution of log-likelihood ratios that is kept with a calibration or a comparison
(``mltraining.speech.evaluation.fitting.distribution``). No trial is scored again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from statistics import NormalDist
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 44
RATES = (0.001, 0.01, 0.05, 0.2, 0.5)  # that the axes of a DET curve name
LOWEST, HIGHEST = 0.0002, 0.6
FEWEST = 3  # errors that a point of a DET curve rests on
FEWEST_IN_A_BIN = 5  # trials of each kind that a point of the calibration rests on

Points = list[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """How the log-likelihood ratios of a model's trials are distributed, and how many trials there are."""

    label: str
    distribution: Mapping[str, Sequence[float]]
    target_trials: int
    impostor_trials: int

    def trade_off(self) -> Points:
        """Return (false-accept rate, false-reject rate) where FEWEST errors of both kinds support it."""
        targets, impostors = self.distribution["target"], self.distribution["impostor"]
        rejected = [0.0, *accumulate(targets)]
        accepted = [1.0, *(1 - below for below in accumulate(impostors))]
        return [
            (far, frr)
            for far, frr in zip(accepted, rejected, strict=True)
            if far * self.impostor_trials >= FEWEST - 0.5 and frr * self.target_trials >= FEWEST - 0.5
        ]

    def calibration(self) -> Points:
        """Return (stated ratio, measured ratio) of each bin that holds enough trials of both kinds.

        Where a calibration is right, it states the share of target trials in a bin over that of impostor trials.
        """
        edges, found = self.distribution["edges"], []
        parts = zip(edges, edges[1:], self.distribution["target"], self.distribution["impostor"], strict=False)
        for low, high, target, impostor in parts:
            if min(target * self.target_trials, impostor * self.impostor_trials) >= FEWEST_IN_A_BIN - 0.5:
                found.append(((low + high) / 2, log(target / impostor)))
        return found


def det_curve(models: Sequence[Ratios]) -> SafeString:
    """Draw the false rejects over the false accepts, on axes in which normal scores give a straight line.

    Empty where the trials support no point.
    """
    normal = NormalDist()
    curves = {
        each.label: [
            (normal.inv_cdf(far), normal.inv_cdf(frr))
            for far, frr in each.trade_off()
            if LOWEST <= far <= HIGHEST and LOWEST <= frr <= HIGHEST
        ]
        for each in models
    }
    limits = normal.inv_cdf(LOWEST), normal.inv_cdf(HIGHEST)
    ticks = [(normal.inv_cdf(rate), f"{100 * rate:g} %") for rate in RATES]
    return _plot("Detection error trade-off", curves, limits, ticks, "false-accept rate", "false-reject rate")


def calibration_curve(models: Sequence[Ratios]) -> SafeString:
    """Draw the measured over the stated log-likelihood ratio; the dotted line is where they are the same.

    Empty where no bin holds enough trials.
    """
    curves = {each.label: each.calibration() for each in models}
    reach = max((abs(value) for points in curves.values() for point in points for value in point), default=1.0) + 0.5
    step = 1 if reach < 4 else 2
    ticks = [(float(value), f"{value:+d}" if value else "0") for value in range(-12, 13, step) if abs(value) < reach]
    words = ("stated log-likelihood ratio", "measured")
    return _plot("Calibration", curves, (-reach, reach), ticks, *words, diagonal=True)


def _plot(
    title: str,
    curves: Mapping[str, Points],
    limits: tuple[float, float],
    ticks: Ticks,
    across: str,
    up: str,
    *,
    diagonal: bool = False,
) -> SafeString:
    """Draw curves on two axes with the same ``limits`` and ``ticks``. The second curve is dashed."""
    if not any(curves.values()):
        return SafeString("")
    low, high = limits

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    floor = HEIGHT - BOTTOM
    shapes = format_html_join(
        "",
        '<line class="va-grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text class="va-axis" x="{3}" y="{4}" '
        'text-anchor="end">{5}</text><line class="va-grid" x1="{6}" x2="{6}" y1="{7}" y2="{8}"/>'
        '<text class="va-axis" x="{6}" y="{9}" text-anchor="middle">{5}</text>',
        (
            (
                *(LEFT, WIDTH - RIGHT, f"{y(at):.1f}", LEFT - 6, f"{y(at) + 4:.1f}", name),
                *(f"{x(at):.1f}", TOP, floor, floor + 16),
            )
            for at, name in ticks
        ),
    )
    if diagonal:
        ends: Sequence[Any] = [f"{place(at):.1f}" for at in limits for place in (x, y)]
        shapes += format_html('<line class="va-ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>', *ends)
    for number, points in enumerate(curves.values(), start=1):
        places = [(f"{x(first):.1f}", f"{y(second):.1f}") for first, second in points]
        shapes += format_html(
            '<polyline class="va-line va-series-{}{}" points="{}"/>',
            number,
            " va-dashed" if number > 1 else "",
            " ".join(map(",".join, places)),
        )
        dots = ((number, *place) for place in places)
        shapes += format_html_join("", '<circle class="va-dot va-series-{}" cx="{}" cy="{}" r="2.5"/>', dots)
    legend = format_html_join(
        "",
        '<li><svg class="va-key" viewBox="0 0 22 4" aria-hidden="true"><line class="va-line va-series-{}{}" x1="0" '
        'x2="22" y1="2" y2="2"/></svg>{}</li>',
        ((number, " va-dashed" if number > 1 else "", name) for number, name in enumerate(curves, start=1)),
    )
    return format_html(
        '<figure class="va-chart"><figcaption>{0}<ul>{1}</ul></figcaption><svg viewBox="0 0 {2} {3}" role="img" '
        'aria-label="{0}: {4} over {5}, of {6}">{7}<text class="va-axis" x="{8}" y="{9}" text-anchor="middle">{5}'
        '</text><text class="va-axis" transform="translate(12 {10}) rotate(-90)" text-anchor="middle">{4}</text></svg>'
        "</figure>",
        *(title, legend, WIDTH, HEIGHT, up, across, " and ".join(curves), shapes),
        *((WIDTH + LEFT - RIGHT) / 2, HEIGHT - 8, (TOP + floor) / 2),
    )


def score_distribution(
    distribution: Mapping[str, Sequence[float]], ratio: float | None, threshold: float | None
) -> tuple[SafeString, str]:
    """Draw the log-likelihood ratios of target and impostor trials with a call's own one, and say where it stands.

    Without a call, say where the threshold stands.

    ``distribution`` is that of a calibration: ``edges``, and the shares ``target`` and ``impostor`` in each bin.
    Without one there is no picture.
    """
    if not distribution:
        return SafeString(""), ""
    edges, width, height, floor = distribution["edges"], 460, 220, 176
    low, high = edges[0], edges[-1]
    top = max([*distribution["target"], *distribution["impostor"]])

    def x(value: float) -> float:
        return 20 + (width - 40) * (min(max(value, low), high) - low) / (high - low)

    shapes = SafeString("")
    for name in ("impostor", "target"):
        steps = [(x(edges[0]), float(floor))]
        for index, share in enumerate(distribution[name]):
            y = floor - (floor - 40) * share / top
            steps += [(x(edges[index]), y), (x(edges[index + 1]), y)]
        steps.append((x(edges[-1]), float(floor)))
        points = " ".join(f"{left:.1f},{y:.1f}" for left, y in steps)
        shapes += format_html('<polygon class="va-trials va-trials-{}" points="{}"/>', name, points)
    for label, value, y in (("threshold", threshold, 32), ("this call", ratio, 14)):
        if value is not None:
            shapes += format_html(
                '<line class="va-at va-at-{0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>'
                '<text class="va-at-label" x="{4}" y="{2}" text-anchor="{5}">{6} {7}</text>',
                label.partition(" ")[0],
                f"{x(value):.1f}",
                y,
                floor,
                f"{x(value) + (6 if x(value) < width / 2 else -6):.1f}",
                "start" if x(value) < width / 2 else "end",
                label,
                f"{value:+.2f}",
            )
    ticks = [low + (high - low) * step / 6 for step in range(7)]
    axis = format_html_join(
        "",
        '<text class="va-axis" x="{}" y="194" text-anchor="middle">{}</text>',
        ((f"{x(tick):.1f}", f"{tick:g}") for tick in ticks),
    )
    words, label = "", "Log-likelihood ratios of target and impostor trials."
    if (at := threshold if ratio is None else ratio) is not None:
        above = _share(distribution["impostor"], edges, at, above=True)
        below = _share(distribution["target"], edges, at, above=False)
        name = "the threshold" if ratio is None else "this ratio"
        words = (
            f"{100 * above:.3g} % of the impostor trials reach {name}; {100 * below:.3g} % of the target trials do not."
        )
        label = words if ratio is None else f"Log-likelihood ratio {ratio:+.2f}. {words}"
    chart = format_html(
        '<svg class="va-distribution" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">'
        '{3}<line class="va-grid" x1="20" x2="{4}" y1="{5}" y2="{5}"/>{6}'
        '<text class="va-axis" x="{7}" y="214" text-anchor="middle">log-likelihood ratio</text></svg>',
        *(width, height, label, shapes, width - 20, floor, axis, width / 2),
    )
    return chart, words


def _share(shares: Sequence[float], edges: Sequence[float], ratio: float, *, above: bool) -> float:
    """Return the share of trials above or below a ratio; those in its own bin count by where it stands in there."""
    found = 0.0
    for index, share in enumerate(shares):
        start, end = edges[index], edges[index + 1]
        beyond = min(max((end - ratio) / (end - start), 0.0), 1.0)
        found += share * (beyond if above else 1 - beyond)
    return found
