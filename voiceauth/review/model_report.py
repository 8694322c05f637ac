"""What a model's page says of its quality, from what the registry keeps: nothing is measured here.

A comparison is that of the promotion: champion and challenger on the trials of the frozen set. Without one, each model
is shown on the trials of its own calibration, which need not be the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mltraining import calibrations
from mltraining.figures import is_figure
from mltraining.models import ModelVersion
from voiceauth.retraining import evidence
from voiceauth.review.trial_charts import Ratios, calibration_curve, det_curve, score_distribution

FIGURES = {
    "eer": "EER",
    "false_reject_rate_at_1": "FRR at FAR 1 %",
    "false_reject_rate_at_01": "FRR at FAR 0.1 %",
    "false_accept_rate": "FAR at the threshold for 1 %",
    "false_reject_rate": "FRR at the threshold for 1 %",
    "rank_one": "Rank 1",
    "cllr": "Cllr",
}
NOT_A_RATE = {"cllr"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of one slice of the trials, of both models where there are two."""

    slice: str
    figure: str
    champion: str
    challenger: str
    difference: str
    trials: str


def report_on(model: ModelVersion) -> dict[str, Any]:
    """Return the context of ``review/model.html``: charts, slices and what they rest on."""
    compared: Mapping[str, Any] = model.metrics.get("comparison") or {}
    active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE).exclude(pk=model.pk)
    rival = active.prefetch_related("calibrations").first()
    return {
        "compared": compared,
        "differences": _differences(compared),
        "evaluated": _evaluated(model, rival),
        "evaluated_on": _evaluations(model).get("source", ""),
        "rival": rival,
        **(_on_the_same_trials(model, compared) or _on_their_calibrations(model, rival)),
    }


def _on_the_same_trials(model: ModelVersion, compared: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the charts of the comparison on the frozen set; ``None`` where it was made before they were kept."""
    distributions = compared.get("distributions")
    main = next((each for each in compared.get("differences", []) if each["slice"] == compared.get("condition")), None)
    if not distributions or main is None:
        return None
    labels = {"champion": f"{compared['champion']} (champion)", "challenger": f"{model.version} (challenger)"}
    counts = {name: main["trials"][name] for name in ("target_trials", "impostor_trials")}
    shown = [Ratios(label=labels[name], distribution=distributions[name], **counts) for name in labels]
    basis = (
        f"Both models on the same trials: {_counted(main['trials'])} of the frozen set, in the condition "
        f"“{compared['condition']}”."
    )
    return _charts(shown, {}) | {"basis": [basis], "same_trials": True}


def _on_their_calibrations(model: ModelVersion, rival: ModelVersion | None) -> dict[str, Any]:
    shown, basis, thresholds = [], [], {}
    for each in filter(None, (rival, model)):
        found = evidence.of(each)
        known = found.calibration
        if known is None or not known.distribution:
            continue
        ratios = Ratios(
            label=each.version,
            distribution=known.distribution,
            target_trials=known.target_trials,
            impostor_trials=known.impostor_trials,
        )
        shown.append(ratios)
        counts = {name: getattr(known, name) for name in ("target_trials", "impostor_trials", "speakers")}
        basis.append(f"{each.version} on {_counted(counts)}: {known.source}.")
        thresholds[ratios.label] = calibrations.ratio_of(known, found.summary()["threshold"])
    return _charts(shown, thresholds) | {"basis": basis, "same_trials": False}


def _charts(shown: list[Ratios], thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    histograms = [
        (each.label, *score_distribution(each.distribution, None, thresholds.get(each.label))) for each in shown
    ]
    curves = [chart for chart in (det_curve(shown), calibration_curve(shown)) if chart]
    return {"curves": curves, "histograms": histograms, "two_models": len(shown) > 1}


def _differences(compared: Mapping[str, Any]) -> list[Row]:
    """List what the comparison found, slice by slice."""
    return [
        Row(
            slice=each["slice"],
            figure=FIGURES[each["figure"]],
            champion=_percent(each["champion"]),
            challenger=_percent(each["challenger"]),
            difference=_change(each["change"]),
            trials=_counted(each["trials"]) if "trials" in each else "—",
        )
        for each in compared.get("differences", [])
    ]


def _evaluated(model: ModelVersion, rival: ModelVersion | None) -> list[Row]:
    """List what ``manage.py evaluate`` measured of the model, beside the model in service on as many trials."""
    theirs = _evaluations(rival) if rival else {}
    rows = []
    for name, figure in _evaluations(model).items():
        part, _, kind = name.partition(" ")
        if kind not in FIGURES or not is_figure(figure):
            continue
        other: Mapping[str, Any] = theirs.get(name) or {}
        counts = ("target_trials", "impostor_trials", "speakers")
        comparable = is_figure(other) and all(other.get(each) == figure.get(each) for each in counts)
        rows.append(
            Row(
                slice=part,
                figure=FIGURES[kind],
                champion=_figure(other, kind) if comparable else "—",
                challenger=_figure(figure, kind),
                difference="",
                trials=_counted(figure),
            )
        )
    return rows


def _evaluations(model: ModelVersion) -> Mapping[str, Any]:
    return model.metrics.get("evaluation") or {}


def _counted(trials: Mapping[str, Any]) -> str:
    """Say how many trials and speakers a figure rests on."""
    if trials.get("target_trials") is None:
        return "number of trials unknown"
    speakers = trials.get("speakers")
    people = f" of {speakers:,} speakers" if speakers else ""
    return f"{trials['target_trials']:,} target and {trials['impostor_trials']:,} impostor trials{people}"


def _percent(rate: float | None) -> str:
    return "—" if rate is None else f"{100 * rate:.2f} %"


def _change(change: Mapping[str, float | None]) -> str:
    value, low, high = (change[name] for name in ("value", "low", "high"))
    if value is None:
        return "—"
    interval = "" if low is None or high is None else f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return f"{100 * value:+.2f}{interval} points"


def _figure(figure: Mapping[str, Any], kind: str) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None:
        return "too few trials"
    scale, digits, unit = (1, 3, "") if kind in NOT_A_RATE else (100, 2, " %")
    interval = "" if low is None or high is None else f" ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
    return f"{scale * value:.{digits}f}{unit}{interval}"
