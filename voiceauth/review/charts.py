"""Small inline SVG charts: no script, no image request, readable to screen readers, themed by ``review.css``."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from mltraining.figures import in_words, is_figure

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 26


def badge(words: str, tone: str) -> SafeString:
    """Return a coloured label; ``tone`` is good, bad, busy or neutral."""
    return format_html('<span class="va-badge va-{}">{}</span>', tone, words)


def pretty(content: Any) -> SafeString:
    """Return JSON for reading; a dash where there is none."""
    if not content:
        return SafeString("—")
    return format_html('<pre class="va-json">{}</pre>', json.dumps(content, indent=2, ensure_ascii=False))


def facts(content: Mapping[str, Any]) -> SafeString:
    """Return named figures as a table of two columns. The name of a group stands before the names in it."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        parts = value.items() if isinstance(value, Mapping) and not is_figure(value) else [("", value)]
        flat |= {f"{name} {part}".replace("_", " ").strip(): each for part, each in parts}
    rows = format_html_join(
        "", "<tr><th>{}</th><td>{}</td></tr>", ((name, _figure(flat[name])) for name in sorted(flat))
    )
    return format_html('<table class="va-table">{}</table>', rows) if rows else SafeString("—")


def probability_bar(probability: float | None, threshold: float | None, *, overruled: str = "") -> SafeString:
    """Draw a probability in [0, 1] as a bar with its threshold as a tick, both in words for a screen reader.

    ``overruled`` names what else speaks against the call, such as a replay: the bar is not that of an acceptance then.
    """
    if probability is None:
        return mark_safe('<span class="va-none">no score</span>')
    over = threshold is not None and probability >= threshold
    words = f"Probability {probability:.4f}" + (f", threshold {threshold:.4f}" if threshold is not None else "")
    words += f"; {overruled}" if overruled else ""
    tick = (
        format_html('<line class="va-tick" x1="{0}" x2="{0}" y1="0" y2="14"/>', f"{1 + threshold * 118:.1f}")
        if threshold is not None
        else ""
    )
    return format_html(
        '<span class="va-probability"><svg class="va-bar" viewBox="0 0 120 14" role="img" aria-label="{}">'
        '<rect class="va-track" x="0" y="3" width="120" height="8" rx="4"/>'
        '<rect class="va-fill {}" x="0" y="3" width="{}" height="8" rx="4"/>{}</svg><b>{}</b></span>',
        words,
        "va-overruled" if over and overruled else "va-over" if over else "va-under",
        f"{max(probability * 120, 3):.1f}",
        tick,
        f"{probability:.4f}",
    )


def progress_bar(percent: float, label: str = "") -> SafeString:
    """Draw a percentage as a bar with its figure."""
    percent = min(max(percent, 0.0), 100.0)
    return format_html(
        '<span class="va-probability"><svg class="va-bar" viewBox="0 0 120 14" role="img" aria-label="{} percent done">'
        '<rect class="va-track" x="0" y="3" width="120" height="8" rx="4"/>'
        '<rect class="va-fill va-over" x="0" y="3" width="{}" height="8" rx="4"/></svg><b>{} %</b>{}</span>',
        f"{percent:.0f}",
        f"{percent * 1.2:.1f}",
        f"{percent:.0f}",
        format_html(' <span class="va-quiet">{}</span>', label) if label else "",
    )


def metrics_table(epochs: Sequence[Mapping[str, Any]]) -> SafeString:
    """One row an epoch, one column a metric, in the order in which they first appear."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch))
    head = format_html_join("", "<th>{}</th>", ((name.replace("_", " "),) for name in names))
    cells = (
        (
            format_html_join(
                "",
                '<td data-label="{}">{}</td>',
                ((name.replace("_", " ").capitalize(), _figure(epoch.get(name))) for name in names),
            ),
        )
        for epoch in epochs
    )
    return format_html(
        '<table class="va-table va-stacked"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        head,
        format_html_join("", "<tr>{}</tr>", cells),
    )


def _figure(value: Any) -> str:
    if is_figure(value):
        return in_words(value)
    return "—" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def line_chart(title: str, series: Mapping[str, Sequence[float | None]]) -> SafeString:
    """Curves over epochs 1…n, a legend, and the lowest and highest value on the axis. Empty without values."""
    values = [value for line in series.values() for value in line if value is not None]
    if not values:
        return SafeString("")
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or max(abs(high) * 0.05, 0.01)
    low, high = low - margin, high + margin
    epochs = max(len(line) for line in series.values())

    def place(index: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (index / (epochs - 1) if epochs > 1 else 0.5)
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    grid = format_html_join(
        "",
        '<line class="va-grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="va-axis" x="{}" y="{}" text-anchor="end">{}</text>',
        (
            (LEFT, WIDTH - RIGHT, f"{y:.1f}", f"{y:.1f}", LEFT - 6, f"{y + 4:.1f}", f"{value:.4g}")
            for value in (low + (high - low) * step / 4 for step in range(5))
            for y in [place(0, value)[1]]
        ),
    )
    ticks = sorted({0, (epochs - 1) // 2, epochs - 1})
    grid += format_html_join(
        "",
        '<text class="va-axis" x="{}" y="{}" text-anchor="middle">{}</text>',
        ((f"{place(index, low)[0]:.1f}", HEIGHT - 8, index + 1) for index in ticks),
    )
    lines = SafeString("")
    for number, line in enumerate(series.values(), start=1):
        points = [place(index, value) for index, value in enumerate(line) if value is not None]
        lines += format_html(
            '<polyline class="va-line va-series-{}" points="{}"/>',
            number,
            " ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        )
        lines += format_html_join(
            "",
            '<circle class="va-dot va-series-{}" cx="{}" cy="{}" r="2.5"/>',
            ((number, f"{x:.1f}", f"{y:.1f}") for x, y in points),
        )
    legend = format_html_join(
        "",
        '<li><svg class="va-key" viewBox="0 0 14 4" aria-hidden="true"><rect class="va-swatch va-series-{}" width="14" height="4"/></svg>{}</li>',
        ((number, name) for number, name in enumerate(series, start=1)),
    )
    return format_html(
        '<figure class="va-chart"><figcaption>{0}<ul>{1}</ul></figcaption>'
        '<svg viewBox="0 0 {2} {3}" role="img" aria-label="{0} over {4} epochs">{5}{6}</svg></figure>',
        title,
        legend,
        WIDTH,
        HEIGHT,
        epochs,
        grid,
        lines,
    )


def stacked_bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[int]]) -> SafeString:
    """One stacked column a label; each part carries its count as a tooltip. ``series`` maps a CSS suffix to counts.

    The columns become as narrow as the page, and the words below them keep their size.
    """
    width, floor = 1000, 128
    totals = [sum(counts[index] for counts in series.values()) for index in range(len(labels))]
    top, step = max([*totals, 1]), width / len(labels)
    parts = SafeString("")
    for index, label in enumerate(labels):
        y = float(floor)
        for name, counts in series.items():
            if not counts[index]:
                continue
            tall = (floor - 8) * counts[index] / top
            y -= tall
            parts += format_html(
                '<rect class="va-column va-column-{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {} {}</title></rect>',
                *(
                    name,
                    f"{index * step + 3:.1f}",
                    f"{y:.1f}",
                    f"{step - 6:.1f}",
                    f"{tall:.1f}",
                    label,
                    counts[index],
                    name,
                ),
            )
    axis = format_html_join("", "<span>{}</span>", ((label,) for label in labels[::3]))
    return format_html(
        '<svg class="va-columns" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}: {} in all, at most {} in one hour"><line class="va-grid" x1="0" x2="{}" y1="{}" y2="{}"/>{}'
        '</svg><p class="va-hours" aria-hidden="true">{}</p>',
        *(width, floor + 1, title, sum(totals), max(totals, default=0), width, floor, floor, parts, axis),
    )


def timeline(points: Sequence[tuple[str, datetime, str]]) -> SafeString:
    """Draw when something happened: (lane, time, kind), where the kind is accepted, refused or undecided.

    Each kind has a shape of its own, so that nothing depends on colours. The rows themselves belong in a table.
    """
    if not points:
        return SafeString("")
    lanes = list(dict.fromkeys(lane for lane, _, _ in points))
    first, last = min(at for _, at, _ in points), max(at for _, at, _ in points)
    span = max(last - first, timedelta(hours=1))
    start = first - (span - (last - first)) / 2
    left, width, step = 84, 620, 34
    floor = step * len(lanes) + 6

    def x(at: datetime) -> float:
        return left + 14 + (width - left - 40) * ((at - start) / span)

    shapes = SafeString("")
    for number, lane in enumerate(lanes):
        y = step * number + 22
        shapes += format_html(
            '<line class="va-grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text class="va-axis" x="0" y="{3}">{4}</text>',
            *(left, width, y, y + 4, lane),
        )
        for each, at, kind in points:
            if each == lane:
                shapes += format_html(
                    '<path class="va-column-{}" d="M{} {} {}"><title>{}: {}</title></path>',
                    *(kind, f"{x(at):.1f}", y, SHAPES[kind], f"{at:%d %b %Y, %H:%M}", kind),
                )
    form = "%H:%M" if span <= timedelta(days=1) else "%d %b"
    shapes += format_html_join(
        "",
        '<text class="va-axis" x="{}" y="{}" text-anchor="middle">{}</text>',
        ((f"{x(at):.1f}", floor + 16, f"{at:{form}}") for at in (start + span * quarter / 4 for quarter in range(5))),
    )
    return format_html(
        '<svg class="va-timeline" viewBox="0 0 {} {}" role="img" aria-label="{} attempts from {} to {}">{}</svg>',
        *(width, floor + 24, len(points), f"{first:%d %b %Y, %H:%M}", f"{last:%d %b %Y, %H:%M}", shapes),
    )


# Around a point: a circle, a cross and a square.
SHAPES = {
    "accepted": "m-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z",
    "refused": "m-7 -4l3 -3 4 4 4 -4 3 3 -4 4 4 4 -3 3 -4 -4 -4 4 -3 -3 4 -4z",
    "undecided": "m-5 -5h10v10h-10z",
}


def two_bars(before: float, now: float, top: float) -> SafeString:
    """Draw two shares as bars, one below the other, as parts of ``top``. The figures stand beside them in a table."""
    widths = [f"{160 * share / max(top, 1e-9):.1f}" for share in (before, now)]
    return format_html(
        '<svg class="va-shares" viewBox="0 0 160 18" aria-hidden="true"><rect class="va-share-before" width="{}" '
        'height="7" y="1"/><rect class="va-share-now" width="{}" height="7" y="10"/></svg>',
        *widths,
    )
