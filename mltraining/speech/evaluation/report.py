"""The evaluation report: an evaluation as tables for people, in Markdown."""

import math
from typing import Any

NOT_RATES = {"min_dcf", "min_dcf_of_ratios", "actual_dcf", "cllr", "min_cllr", "ratio"}
TABLES = [
    (
        "Verification",
        [
            ("target_trials", "target"),
            ("impostor_trials", "impostor"),
            ("eer", "EER"),
            ("min_dcf", "minDCF(0.01)"),
            ("false_reject_rate_at_1", "FRR at FAR 1 %"),
            ("false_reject_rate_at_01", "FRR at FAR 0.1 %"),
        ],
    ),
    ("Identification", [("rank_one", "rank-1"), ("fnir", "FNIR at FPIR 1 %, a third unknown")]),
    (
        "Calibration, cross-fitted over halves of the speakers",
        [
            ("calibrated_trials", "trials"),
            ("cllr", "Cllr"),
            ("min_cllr", "minCllr"),
            ("actual_dcf", "actDCF"),
            ("min_dcf_of_ratios", "minDCF"),
            ("false_accept_rate", "FAR at the threshold for 1 %"),
            ("false_reject_rate", "FRR there"),
        ],
    ),
]


def markdown(document: dict[str, Any]) -> str:
    """Return the content of evaluation.md, from what ``evaluate.evaluate`` returned."""
    lines = [
        f"# Evaluation of {document['model'][:12]}",
        "",
        f"{document['speakers']} speakers; 95 % intervals from {document['resamples']} resamples of the speakers, "
        f"seed {document['seed']}. Rates in %. A dash stands where the trials are too few for a figure.",
    ]
    for title, columns in TABLES:
        lines += ["", f"## {title}", "", "| condition | " + " | ".join(heading for _, heading in columns) + " |"]
        lines.append("| --- |" + " ---: |" * len(columns))
        for part in document["slices"]:
            lines.append(f"| {part['label']} | " + " | ".join(cell(part[name], name) for name, _ in columns) + " |")
    gender, probe = document["adults_by_gender"], document["silence_probe"]
    lines += ["", "## Adults by gender, at the threshold for 1 %, G.711", ""]
    if gender is None:
        lines.append(
            "Not measured: this needs G.711, adults of both genders, and 300 impostor trials in each half of them."
        )
    else:
        lines += [f"- {name}: FRR {cell(rate, 'rate')} %" for name, rate in gender["false_reject_rate"].items()]
        lines.append(f"- worst over best: {cell(gender['worst_over_best'], 'ratio')}")
    lines += ["", "## Silence probe", ""]
    if probe["rank_one"] is None:
        lines.append("Not measured, because too few clips hold a pause.")
    else:
        lines.append(
            f"Rank-1 on the pauses of {probe['clips']} clips of {probe['speakers']} speakers: "
            f"{cell(probe['rank_one'], 'rate')} %; by chance {100 * probe['chance']:.1f} %."
        )
    return "\n".join(lines) + "\n"


def cell(figure: Any, name: str) -> str:
    """Return a figure as "value (low–high)", in percent if it is a rate; a dash where there is none."""
    if figure is None:
        return "–"
    if isinstance(figure, int):
        return f"{figure:,}"
    if figure["value"] is None:
        return "–"
    scale, digits = (1, 3) if name in NOT_RATES else (100, 2)
    value, low, high = (math.nan if figure[key] is None else scale * figure[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"
