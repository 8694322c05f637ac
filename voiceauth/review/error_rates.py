"""The error rates of labelled calls, for people: each with its interval and its counts."""

from collections.abc import Mapping
from typing import Any

from mltraining.figures import with_intervals
from voiceauth.verification.models import DriftReport


def shown(report: DriftReport | None) -> dict[str, Any]:
    """Return the context of ``review/error_rates.html``."""
    return {"error_rates": [_row(each) for each in report.errors] if report else []}


def _row(found: Mapping[str, Any]) -> dict[str, str]:
    genuine, impostors = found["genuine"], found["impostors"]
    rates = {
        "target_trials": genuine,
        "impostor_trials": impostors,
        "false_reject_rate": found["false_rejects"] / genuine if genuine else None,
        "false_accept_rate": found["false_accepts"] / impostors if impostors else None,
    }
    figures = with_intervals(rates)
    return {
        "group": "" if found["group"] == "all" else found["group"],
        "value": found["value"],
        "rejects": _words(figures["false_reject_rate"], found["false_rejects"], genuine),
        "accepts": _words(figures["false_accept_rate"], found["false_accepts"], impostors),
    }


def _words(figure: Mapping[str, Any], errors: int, calls: int) -> str:
    counted = f"{errors:,} of {calls:,}"
    if figure["value"] is None:
        return f"too few: {counted}" if calls else "no call"
    value, low, high = (f"{100 * figure[name]:.1f} %" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}), {counted}"
