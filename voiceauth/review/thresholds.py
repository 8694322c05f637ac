"""What another threshold would have decided on past calls: their stored log-likelihood ratios, counted again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import Count, Q
from django.utils import timezone

from mltraining import calibrations
from mltraining.models import ModelVersion
from voiceauth.platform.api.serializers import rounded_probability
from voiceauth.retraining import evidence
from voiceauth.verification.models import Decision
from voiceauth.verification.selectors import decided_by_score

Result = Decision.Result


class Wanted(forms.Form):
    """Which calls to count, and at which threshold beside those that the calibration supports."""

    days = forms.TypedChoiceField(
        choices=[(days, f"the last {days} days") for days in (7, 30, 90)],
        coerce=int,
        initial=30,
        label="Calls of",
    )
    probability = forms.FloatField(
        min_value=0.0001,
        max_value=0.999999,
        required=False,
        label="Another threshold",
        help_text="A probability between 0 and 1. Leave it empty for the rates that the calibration supports.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one threshold would have decided on the calls."""

    name: str
    probability: float
    ratio: float
    accepted: int
    rejected: int
    newly_accepted: int
    newly_rejected: int
    in_force: bool


def preview(model: ModelVersion, *, days: int, probability: float | None) -> dict[str, Any]:
    """Count the verifications of the last ``days`` that ``model`` decided, at each threshold in question.

    Counted are the calls that their score alone decided: no replays, no second voice, no hidden answers. The ratios are
    those that were stored, each under the calibration that was in force then.
    """
    found = evidence.of(model)
    since = timezone.now() - timedelta(days=days)
    calls = decided_by_score(model.version, since=since).exclude(log_likelihood_ratio=None)
    if found.calibration is None:
        return {"total": 0, "outcomes": []}
    asked = _thresholds(found, probability)
    counts: dict[str, Any] = {
        "total": Count("pk"),
        "accepted": Count("pk", filter=Q(decision=Result.ACCEPT)),
        "calibrations": Count("calibration_version", distinct=True),
    }
    for index, (_, _, ratio, _) in enumerate(asked):
        above = Q(log_likelihood_ratio__gte=ratio)
        counts[f"accepted_{index}"] = Count("pk", filter=above)
        counts[f"newly_accepted_{index}"] = Count("pk", filter=above & Q(decision=Result.REJECT))
        counts[f"newly_rejected_{index}"] = Count("pk", filter=~above & Q(decision=Result.ACCEPT))
    seen = calls.order_by().aggregate(**counts)
    return {
        "total": seen["total"],
        "accepted": seen["accepted"],
        "rejected": seen["total"] - seen["accepted"],
        "calibrations": seen["calibrations"],
        "outcomes": [
            Outcome(
                name=name,
                probability=rounded_probability(chance),
                ratio=ratio,
                accepted=seen[f"accepted_{index}"],
                rejected=seen["total"] - seen[f"accepted_{index}"],
                newly_accepted=seen[f"newly_accepted_{index}"],
                newly_rejected=seen[f"newly_rejected_{index}"],
                in_force=in_force,
            )
            for index, (name, chance, ratio, in_force) in enumerate(asked)
        ],
    }


def _thresholds(found: evidence.Evidence, probability: float | None) -> Sequence[tuple[str, float, float, bool]]:
    """List (name, probability, log-likelihood ratio, whether it is that of calls without a tier), the lowest first."""
    known = found.calibration
    assert known is not None
    rates = {float(rate) for rate, _ in known.parameters.get("thresholds", ())}
    asked = []
    for rate in rates | {found.target_far}:
        if calibrations.shortfalls(known, rate) and rate != found.target_far:
            continue
        chance = calibrations.threshold(known, rate)
        ratio = calibrations.ratio_of(known, chance)
        asked.append((f"false-accept rate {100 * rate:g} %", chance, ratio, rate == found.target_far))
    if probability is not None:
        asked.append((f"probability {probability:g}", probability, calibrations.ratio_of(known, probability), False))
    return sorted(asked, key=lambda each: each[2])
