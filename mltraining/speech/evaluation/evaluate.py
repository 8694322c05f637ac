"""The ``evaluate`` command: every trial in every condition, with intervals over speakers.

``python -m mltraining.speech evaluate --pipeline FOLDER --speech DIR --output DIR`` prints tables and writes
``evaluation.json``, ``evaluation.md``, ``det.png`` and ``calibration.png``. ``conditions`` has the conditions,
``slices`` the figures.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mltraining.speech.audio import noise
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.evaluation import charts, metrics, report
from mltraining.speech.evaluation.conditions import (
    CONDITIONS,
    Condition,
    ConditionScores,
    TrialAudio,
    chosen_conditions,
    load_audio,
    score_in_conditions,
)
from mltraining.speech.evaluation.fitting import CrossFitted, fit_with_thresholds
from mltraining.speech.evaluation.silence_probe import probe_silence
from mltraining.speech.evaluation.slices import (
    EVEN_ODDS,
    FITTING_PRIOR,
    RESAMPLES,
    TARGET_FALSE_ACCEPT_RATE,
    UNKNOWN_PARTS,
    Slice,
    adults_by_gender,
    cross_fit_conditions,
    figures_of,
    pooled,
    slices,
)
from mltraining.speech.evaluation.trials import (
    EvaluationError,
    Progress,
    TrialList,
    add_speech_arguments,
    silent,
    take_from_speech_folder,
)
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline, recalibrate

DONE, REFUSED = 0, 2
SPEECH = ("enrollment", "trials", "audio_root", "clips", "noise")


def evaluate(
    pipeline: ScoringPipeline,
    audio: TrialAudio,
    conditions: Sequence[Condition],
    noises: Sequence[np.ndarray],
    output: Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure everything and write the four files of the module's docstring; return what evaluation.json holds.

    Raises EvaluationError ``no_trials`` where no condition has trials of both kinds.
    """
    heard = score_in_conditions(pipeline, audio, conditions, noises, seed=seed, progress=progress)
    parts = slices(audio, heard)
    if not parts:
        raise EvaluationError("no_trials", "no condition has both target and impostor trials")
    weights = metrics.resampled_speakers(len(audio.speakers), RESAMPLES, np.random.default_rng([seed, 1]))
    unknown = np.random.default_rng([seed, 2]).permutation(len(audio.speakers)) % UNKNOWN_PARTS
    fitted = cross_fit_conditions(audio, heard, seed=seed)
    gap = adults_by_gender(parts, fitted, weights)
    document: dict[str, Any] = _finite(
        {
            "model": pipeline.fingerprint,
            "seed": seed,
            "resamples": RESAMPLES,
            "speakers": len(audio.speakers),
            "slices": [_described(part, fitted[part.heard.condition.name], weights, unknown) for part in parts],
            "adults_by_gender": gap and asdict(gap),
            "calibration": calibration_of_all(audio, heard),
            "silence_probe": asdict(probe_silence(pipeline, audio, weights)),
        }
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "evaluation.json").write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (output / "evaluation.md").write_text(report.markdown(document), encoding="utf-8")
    _write_charts(output, parts, fitted)
    return document


def calibration_of_all(audio: TrialAudio, heard: Sequence[ConditionScores]) -> dict[str, Any] | None:
    """Return the calibration that the pipeline is to ship with, fitted on all speakers at once.

    The answer is ``Calibration.to_dict`` with ``threshold``, a probability at even odds for a false-accept rate of 1 %.
    None where the trials do not support that rate. The cross-fitted figures say what it is worth on strangers.
    """
    fitted_on = [each for each in heard if each.condition.calibrates]
    if not fitted_on:
        return None
    trials = pooled(audio, fitted_on)
    calibration = fit_with_thresholds(trials, fitting_prior=FITTING_PRIOR, prior=EVEN_ODDS)
    threshold = calibration.threshold_at(TARGET_FALSE_ACCEPT_RATE)
    return None if threshold is None else calibration.to_dict() | {"threshold": threshold}


def summary(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the slices' figures for a model's record, each named "g711 eer" and the like. See ``figures.Figure``."""
    return {
        f"{part['name']} {name}": figure
        for part in document["slices"]
        for name, figure in part.items()
        if isinstance(figure, dict)
    }


def _described(part: Slice, fitted: CrossFitted, weights: np.ndarray, unknown: np.ndarray) -> dict[str, Any]:
    figures = figures_of(part, fitted, weights, unknown)
    counts = {
        "target_trials": int(part.trials.is_target.sum()),
        "impostor_trials": int((~part.trials.is_target).sum()),
        "calibrated_trials": int(np.isfinite(fitted.ratios[part.inside]).sum()),
    }
    described = {name: figure and figure.to_dict() for name, figure in figures.items()}
    return {"name": part.name, "label": part.label} | counts | described


def _write_charts(output: Path, parts: Sequence[Slice], fitted: dict[str, CrossFitted]) -> None:
    """det.png and calibration.png, of everybody in the conditions that are not cut short."""
    charted = [part for part in parts if part.members.all() and part.heard.condition.seconds is None]
    curves = [charts.Curve(part.label, *_by_kind(part.trials.scores, part.trials.is_target)) for part in charted]
    charts.write_detection_error_tradeoff(output / "det.png", curves)
    curves = []
    for part in charted:
        ratios = fitted[part.heard.condition.name].ratios[part.inside]
        has = np.isfinite(ratios)
        target, impostor = _by_kind(ratios[has], part.trials.is_target[has])
        if part.heard.condition.calibrates and len(target) and len(impostor):
            curves.append(charts.Curve(part.label, target, impostor))
    charts.write_calibration(output / "calibration.png", curves)


def _by_kind(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scores[is_target], scores[~is_target]


def _finite(content: Any) -> Any:
    """Null for what is not a finite number."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the pipeline or the trials are refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech evaluate", description="Evaluate a pipeline.")
    parser.add_argument("--pipeline", required=True, type=Path, help="the pipeline folder that train left")
    add_arguments(parser)
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="write the calibration and the threshold for a false-accept rate of 1 %% into the pipeline",
    )
    parser.add_argument(
        "--strangers", action="store_true", help="with --recalibrate: state that no speaker here trained the model"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    try:
        pipeline = ScoringPipeline.load(options.pipeline, device=options.device)
        document = run(pipeline, options)
        if options.recalibrate:
            _recalibrate(options.pipeline, document, strangers=options.strangers)
    except (EvaluationError, PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"error: {getattr(error, 'code', 'unreadable_file')}: {error}\n")
        return REFUSED
    sys.stdout.write(report.markdown(document))
    return DONE


def _recalibrate(folder: Path, document: dict[str, Any], *, strangers: bool) -> None:
    calibration = document["calibration"]
    if calibration is None:
        raise EvaluationError("unsupported_rate", "a threshold for 1 % needs at least 300 impostor trials")
    fitted = {name: value for name, value in calibration.items() if name != "threshold"}
    # The same recording through two channels is no second trial.
    largest = max(document["slices"], key=lambda part: part["impostor_trials"])
    measured_on = {name: largest[name] for name in ("target_trials", "impostor_trials")}
    measured_on |= {"speakers": document["speakers"], "strangers": strangers, "source": "the evaluation's trials"}
    recalibrate(folder, Calibration.from_dict(fitted), calibration["threshold"], measured_on)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that this command and ``manage.py evaluate`` have in common."""
    names = [condition.name for condition in CONDITIONS]
    add_speech_arguments(parser, *SPEECH)
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables and charts")
    parser.add_argument("--conditions", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=0)


def run(pipeline: ScoringPipeline, options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate as the options of ``add_arguments`` say, with a progress bar on stderr."""
    take_from_speech_folder(options, *SPEECH)
    audio = load_audio(TrialList.read(options.enrollment, options.trials, options.audio_root), options.clips)
    noises = noise.load(options.noise, "evaluation") if options.noise else []
    chosen = chosen_conditions(options.conditions, noisy=bool(noises))
    with tqdm(unit="clip", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate(pipeline, audio, chosen, noises, options.output, seed=options.seed, progress=progress)
