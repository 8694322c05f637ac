"""What a test's model was calibrated on: enough trials of strangers for a false-accept rate of 0.1 %, or too few."""

import json
from dataclasses import asdict
from typing import Any

from mltraining import calibrations, registry
from mltraining.calibrations import MeasuredOn
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform.audit import SYSTEM
from voiceauth.retraining.base_model import BASE_MODEL

ENOUGH = MeasuredOn(target_trials=40, impostor_trials=4000, speakers=40, strangers=True, source="trials of strangers")
# What a retrain on 3 customers with 22 clips holds out.
RETRAINED = MeasuredOn(target_trials=3, impostor_trials=6, speakers=0, strangers=False, source="recordings held out")
THRESHOLDS = ((0.01, 0.0), (0.001, 4.0))  # at even odds, the first one is a probability of 0.5
DISTRIBUTION = {  # of log-likelihood ratios: impostors around -4, targets around 6
    "edges": [float(edge) for edge in range(-12, 13)],
    "impostor": [max(0.0, 5 - abs(edge + 4)) / 25 for edge in range(-12, 12)],
    "target": [max(0.0, 5 - abs(edge - 6)) / 25 for edge in range(-12, 12)],
}

OVERLAPPING = {  # impostors around -3, targets around 3: with errors on both sides
    "edges": DISTRIBUTION["edges"],
    "impostor": [max(0.0, 8 - abs(edge + 3)) / 64 for edge in range(-12, 12)],
    "target": [max(0.0, 8 - abs(edge - 3)) / 64 for edge in range(-12, 12)],
}
COUNTS = {"target_trials": 1000, "impostor_trials": 20000, "speakers": 100}
COMPARISON: dict[str, Any] = {  # what a promotion keeps with the challenger
    "champion": "20261101-000000-aaaaaa",
    "better": True,
    "reasons": ["better, g711: EER 2.50 % -> 1.75 % (difference -1.25 to -0.25 points)"],
    "condition": "g711",
    "differences": [
        {"slice": name, "figure": "eer", "champion": 0.025, "challenger": 0.0175, "trials": COUNTS}
        | {"change": {"value": -0.0075, "low": -0.0125, "high": -0.0025}}
        for name in ("g711", "g711-female")
    ],
    "distributions": {"champion": OVERLAPPING, "challenger": OVERLAPPING},
}
EVALUATION: dict[str, Any] = {
    "source": "calls-of-november",
    "g711 eer": {"value": 0.0175, "low": 0.0125, "high": 0.0225, **COUNTS},
    "gsm cllr": {"value": 0.0912, "low": 0.08, "high": 0.1, **COUNTS},
    "gsm fnir": {"value": None, "low": None, "high": None, **COUNTS},
}


def calibrated_on(measured_on: MeasuredOn = ENOUGH) -> dict[str, Any]:
    """The entry of ``pipeline.json``."""
    return asdict(measured_on)


def shipped() -> Calibration:
    """The calibration of the model in the repository, not stored."""
    described = json.loads((BASE_MODEL / "pipeline.json").read_text(encoding="utf-8"))
    parameters = described["calibration"]
    return Calibration(version=parameters["version"], parameters=parameters, **asdict(registry.measured_on(described)))


def shipped_threshold() -> float:
    """The probability from which the model in the repository accepts at its default rate, as its file says."""
    return float(json.loads((BASE_MODEL / "pipeline.json").read_text(encoding="utf-8"))["threshold"])


def calibrate(
    model: ModelVersion, measured_on: MeasuredOn = ENOUGH, thresholds: tuple[tuple[float, float], ...] = THRESHOLDS
) -> Calibration:
    """Give a row of the registry, which has no files, a calibration."""
    parameters = {"slope": 16.0, "offset": -8.0, "prior": 0.5, "version": model.calibration_version}
    parameters |= {"thresholds": [list(pair) for pair in thresholds]}
    model.calibrations.update(active=False)
    return calibrations.store(model, parameters, measured_on, SYSTEM)
