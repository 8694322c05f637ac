"""Evaluation as one command: every trial in every condition, with intervals over speakers.

``python -m mltraining.speech evaluate --pipeline FOLDER --enrollment CSV --trials CSV --audio-root DIR
[--clips clips.parquet] [--noise DIR] --output DIR`` prints a table and writes ``evaluation.json``, ``evaluation.md``,
``det.png`` and ``calibration.png``.

``hearing`` has the trials and the conditions. EER, minDCF and the false-reject rates are of the pipeline's score on all
trials. Cllr, actDCF and the threshold for 1 % are of calibrated log-likelihood ratios, cross-fitted: halves of the
speakers, each half's trials calibrated on the other's, and trials between the halves left out of both.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mltraining.speech.audio import noise, quality
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform
from mltraining.speech.evaluation import metrics, report
from mltraining.speech.evaluation.hearing import (
    CONDITIONS,
    G711,
    Condition,
    EvaluationError,
    Heard,
    Progress,
    TrialSet,
    chosen_conditions,
    hear,
    load,
    silent,
)
from mltraining.speech.evaluation.metrics import Estimate, ResampledTrials
from mltraining.speech.evaluation.tables import markdown
from mltraining.speech.scoring import scores as scoring
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline, recalibrate

DONE, REFUSED = 0, 2
RESAMPLES = 200
TARGET_FALSE_ACCEPT_RATE = 0.01  # what the threshold is set for
FITTED_PRIOR = 0.01  # the calibration's weight of target trials, that of the detection cost
EVEN_ODDS = 0.5  # the prior of the probability that the API answers
UNKNOWN_PARTS = 3  # a third of the speakers is unknown, each third in turn
# A pause is measured without the tails of the speech around it, or the probe would hear the voice.
GUARD_SECONDS, MIN_SILENCE_SECONDS = 0.05, 0.3


@dataclass(frozen=True, eq=False)
class Slice:
    """The trials among ``members`` (speakers,) bool, as heard in one condition."""

    name: str
    label: str
    heard: Heard
    members: np.ndarray

    def trials_of(self, data: TrialSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places in ``heard.trials`` (t,), scores (t,), target (t,) bool, and the pairs of speakers (2, t)."""
        owner, claimed = data.owner[data.clip[self.heard.trials]], data.claimed[self.heard.trials]
        inside = np.flatnonzero(self.members[owner] & self.members[claimed])
        owner, claimed = owner[inside], claimed[inside]
        return inside, self.heard.scores[self.heard.row[inside], claimed], owner == claimed, np.stack([owner, claimed])


@dataclass(frozen=True)
class Calibrated:
    """Of every trial in ``Heard.trials``: its cross-fitted ratio, and whether the threshold for 1 % lets it in.

    NaN for a trial between the halves, which nothing was fitted for; ``accepted`` also where there are too few
    impostor trials to set a threshold for 1 %.
    """

    ratios: np.ndarray
    accepted: np.ndarray


def slices(data: TrialSet, heard: Sequence[Heard]) -> list[Slice]:
    """Every condition, and each group of speakers through G.711; only where there are trials of both kinds."""
    everybody = np.ones(len(data.speakers), dtype=bool)
    found = [Slice(each.condition.name, each.condition.label, each, everybody) for each in heard]
    for each in heard:
        if each.condition == G711:
            found += [
                Slice(f"{G711.name}-{name}", f"{name}, {G711.label}", each, group)
                for name, group in data.groups.items()
            ]
    kinds = [each.trials_of(data)[2] for each in found]
    return [each for each, target in zip(found, kinds, strict=True) if target.any() and not target.all()]


def evaluate(
    pipeline: ScoringPipeline,
    data: TrialSet,
    conditions: Sequence[Condition],
    noises: Sequence[np.ndarray],
    output: Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Everything that is measured, as in evaluation.json; writes the four files of the module's docstring.

    Raises EvaluationError ``no_trials`` where no condition has trials of both kinds.
    """
    heard = hear(pipeline, data, conditions, noises, seed=seed, progress=progress)
    weights = metrics.resampled_speakers(len(data.speakers), RESAMPLES, np.random.default_rng([seed, 1]))
    parts = slices(data, heard)
    if not parts:
        raise EvaluationError("no_trials", "no condition has both target and impostor trials")
    calibrated = calibrate(data, heard, seed=seed)
    unknown = np.random.default_rng([seed, 2]).permutation(len(data.speakers)) % UNKNOWN_PARTS
    document: dict[str, Any] = _jsonable(
        {
            "model": pipeline.fingerprint,
            "seed": seed,
            "resamples": RESAMPLES,
            "speakers": len(data.speakers),
            "slices": [
                {"name": part.name, "label": part.label}
                | _figures(data, part, calibrated[part.heard.condition.name], weights, unknown)
                for part in parts
            ],
            "adults_by_gender": _adults_by_gender(data, parts, calibrated, weights),
            "calibration": calibration_of_all(data, heard),
            "silence_probe": silence_probe(pipeline, data, weights),
        }
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "evaluation.json").write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (output / "evaluation.md").write_text(markdown(document), encoding="utf-8")
    charted = [part for part in parts if part.members.all() and part.heard.condition.seconds is None]
    report.write_detection_error_tradeoff(
        output / "det.png", [_curve(part, *part.trials_of(data)[1:3]) for part in charted]
    )
    ratios = [
        (part, *_ratios(data, part, calibrated[part.heard.condition.name])[:2])
        for part in charted
        if part.heard.condition.calibrates
    ]
    report.write_calibration(
        output / "calibration.png", [_curve(*each) for each in ratios if each[2].any() and not each[2].all()]
    )
    return document


def calibrate(data: TrialSet, heard: Sequence[Heard], *, seed: int) -> dict[str, Calibrated]:
    """By condition. Fitted on the trials of all conditions that calibrate, pooled, so that quality has a range."""
    half = np.random.default_rng([seed, 3]).permutation(len(data.speakers)) % 2
    everybody = np.ones(len(data.speakers), dtype=bool)
    names = [each.condition.name for each in heard]
    fitted_on = [each.condition.name for each in heard if each.condition.calibrates] or names
    trials = {each.condition.name: Slice("", "", each, everybody).trials_of(data) for each in heard}
    measured = {each.condition.name: each.measures(data) for each in heard}
    found = {name: Calibrated(*np.full((2, len(trials[name][0])), np.nan)) for name in names}
    for tested in (0, 1):
        inside = {name: (half[trials[name][3]] == tested).all(axis=0) for name in names}
        outside = {name: (half[trials[name][3]] != tested).all(axis=0) for name in names}
        scores = np.concatenate([trials[name][1][outside[name]] for name in fitted_on])
        target = np.concatenate([trials[name][2][outside[name]] for name in fitted_on])
        measures = np.concatenate([measured[name][:, outside[name]] for name in fitted_on], axis=1)
        if not target.any() or target.all():
            continue  # too few speakers to be halved
        calibration, threshold = _fit(scores, target, measures)
        for name in names:
            mask = inside[name]
            own = calibration.log_likelihood_ratio(trials[name][1][mask], scoring.Conditions(*measured[name][:, mask]))
            found[name].ratios[mask] = own
            if threshold is not None:
                found[name].accepted[mask] = own >= threshold
    return found


def calibration_of_all(data: TrialSet, heard: Sequence[Heard]) -> dict[str, Any] | None:
    """What the pipeline is to ship with: fitted as in ``calibrate``, but on all speakers at once, and the threshold.

    As ``Calibration.to_dict`` with ``threshold``, a probability at even odds; None where there are too few impostors.
    What it is worth on strangers is what the cross-fitted figures say.
    """
    everybody = np.ones(len(data.speakers), dtype=bool)
    fitted_on = [each for each in heard if each.condition.calibrates]
    if not fitted_on:
        return None
    trials = [Slice("", "", each, everybody).trials_of(data) for each in fitted_on]
    scores, target = (np.concatenate([each[part] for each in trials]) for part in (1, 2))
    measures = np.concatenate([each.measures(data) for each in fitted_on], axis=1)
    fitted, threshold = _fit(scores, target, measures)
    if threshold is None:
        return None
    ratios = fitted.log_likelihood_ratio(scores, scoring.Conditions(*measures))
    calibration = scoring.Calibration.of(fitted.slope, fitted.offset, EVEN_ODDS, fitted.weights)
    calibration = calibration.with_thresholds(ratios[target], ratios[~target])
    return calibration.to_dict() | {"threshold": float(calibration.probability(threshold))}


def _fit(scores: np.ndarray, target: np.ndarray, measures: np.ndarray) -> tuple[scoring.Calibration, float | None]:
    """Scores (t,), target (t,) bool, measures (3, t) -> calibration and the ratio for 1 %: None with too few trials."""
    calibration = scoring.fit_calibration(
        scores[target],
        scores[~target],
        FITTED_PRIOR,
        target_conditions=scoring.Conditions(*measures[:, target]),
        impostor_conditions=scoring.Conditions(*measures[:, ~target]),
    )
    ratios = calibration.log_likelihood_ratio(scores, scoring.Conditions(*measures))
    try:
        return calibration, scoring.threshold_for(ratios[target], ratios[~target], TARGET_FALSE_ACCEPT_RATE)
    except scoring.UnsupportedRate:
        return calibration, None


def summary(document: dict[str, Any]) -> dict[str, float]:
    """The figures of the slices alone, for a model's record: "g711 eer" and so on, without intervals."""
    return {
        f"{part['name']} {name}": figure["value"]
        for part in document["slices"]
        for name, figure in part.items()
        if isinstance(figure, dict) and figure["value"] is not None
    }


def silence_probe(pipeline: ScoringPipeline, data: TrialSet, weights: np.ndarray) -> dict[str, Any]:
    """Rank-1 of a nearest-mean classifier on the test clips' pauses: what the recording tells, and not the voice.

    Each clip is compared with every speaker's mean over the others. Only speakers with two clips that hold 0.3 s
    without speech. ``chance``: one over the speakers.
    """
    embeddings, owner = [], []
    for clip, speaker in zip(data.clips, data.owner, strict=True):
        if (pause := _pauses(clip)) is not None:
            embeddings.append(pipeline.embed(pause))
            owner.append(speaker)
    owners = np.array(owner, dtype=int)
    counts = np.bincount(owners, minlength=len(data.speakers))
    kept = counts[owners] >= 2
    known = np.flatnonzero(counts >= 2)
    if len(known) < 2:
        return {"clips": 0, "speakers": 0, "rank_one": None, "chance": None}
    vectors, owners = np.stack(embeddings)[kept], owners[kept]
    truth = np.searchsorted(known, owners)
    sums = np.stack([vectors[truth == place].sum(axis=0) for place in range(len(known))])
    means = np.repeat(sums[None], len(vectors), axis=0)  # (clips, speakers, dimensions)
    means[np.arange(len(vectors)), truth] -= vectors
    means /= np.linalg.norm(means, axis=2, keepdims=True) + 1e-12
    scores = np.einsum("nd,nsd->ns", vectors, means)
    hits = np.array([metrics.rank_one(truth[[row]], scores[[row]]) for row in range(len(truth))])
    rank_one = Estimate.of(metrics.weighted_mean(hits, weights[:, owners]))
    return {"clips": len(vectors), "speakers": len(known), "rank_one": rank_one, "chance": 1 / len(known)}


def _figures(
    data: TrialSet, part: Slice, calibrated: Calibrated, weights: np.ndarray, unknown: np.ndarray
) -> dict[str, int | Estimate | None]:
    inside, scores, target, pair = part.trials_of(data)
    trials = ResampledTrials(scores, target, weights[:, pair[0]] * weights[:, pair[1]])
    found: dict[str, int | Estimate | None] = {
        "target_trials": int(target.sum()),
        "impostor_trials": int((~target).sum()),
        "eer": Estimate.of(trials.equal_error_rate()),
        "min_dcf": Estimate.of(trials.min_dcf()),
        "false_reject_rate_at_1": Estimate.of(trials.false_reject_rate_at(0.01)),
        "false_reject_rate_at_01": Estimate.of(trials.false_reject_rate_at(0.001)),
    }
    owner = data.owner[part.heard.clips]
    rows = np.flatnonzero(part.members[owner])
    owner, matrix = owner[rows], part.heard.scores[rows]
    own, rival = _own_and_rival(matrix, owner, np.ones(len(data.speakers), dtype=bool))
    drawn = weights[:, owner]
    found["rank_one"] = Estimate.of(metrics.weighted_mean((own > rival).astype(float), drawn))
    found["fnir"] = _fnir(matrix, owner, drawn, unknown)

    ratios, target, pair = _ratios(data, part, calibrated)
    found["calibrated_trials"] = len(ratios)
    figures = ("cllr", "min_cllr", "actual_dcf", "min_dcf_of_ratios", "false_accept_rate", "false_reject_rate")
    if not target.any() or target.all():
        return found | dict.fromkeys(figures)
    drawn = weights[:, pair[0]] * weights[:, pair[1]]
    trials = ResampledTrials(ratios, target, drawn)
    found["cllr"] = Estimate.of(metrics.resampled_cllr(ratios, target, drawn))
    found["min_cllr"] = Estimate.of(trials.min_cllr())
    found["actual_dcf"] = Estimate.of(metrics.resampled_dcf(ratios, target, drawn))
    found["min_dcf_of_ratios"] = Estimate.of(trials.min_dcf())
    accepted = calibrated.accepted[inside][np.isfinite(calibrated.ratios[inside])]  # all, or none, of a half
    found["false_accept_rate"] = Estimate.of(metrics.weighted_mean(accepted[~target], drawn[:, ~target]))
    found["false_reject_rate"] = Estimate.of(metrics.weighted_mean(1 - accepted[target], drawn[:, target]))
    return found


def _fnir(matrix: np.ndarray, owner: np.ndarray, drawn: np.ndarray, unknown: np.ndarray) -> Estimate | None:
    """Mean over the parts of the speakers, each unknown in turn: its voiceprints removed, its clips the strangers'."""
    rates = []
    for part in range(UNKNOWN_PARTS):
        enrolled = unknown != part
        known = enrolled[owner]
        if not known.any() or known.all():
            return None
        own, rival = _own_and_rival(matrix[known], owner[known], enrolled)
        stranger = matrix[~known][:, enrolled].max(axis=1)
        rates.append(metrics.fnir_at_fpir(own, rival, stranger, 0.01, drawn[:, known], drawn[:, ~known]))
    return Estimate.of(np.mean(rates, axis=0))


def _own_and_rival(matrix: np.ndarray, owner: np.ndarray, enrolled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, speakers) -> of the own voiceprint and the best of the other enrolled ones, (n,) each."""
    rows = np.arange(len(matrix))
    others = np.where(enrolled[None, :], matrix, -np.inf)
    others[rows, owner] = -np.inf
    return matrix[rows, owner], others.max(axis=1, initial=-np.inf)


def _adults_by_gender(
    data: TrialSet, parts: Sequence[Slice], calibrated: dict[str, Calibrated], weights: np.ndarray
) -> dict[str, Any] | None:
    """False-reject rates of adult women and men at the threshold for 1 % through G.711, and the worst over the best.

    The ratio counts half an error more for each, so that it stays finite where a group has none.
    """
    part = next((each for each in parts if each.name == G711.name), None)
    if part is None or not {"adult", "female", "male"} <= set(data.groups):
        return None
    inside, _, target, pair = part.trials_of(data)
    accepted = calibrated[G711.name].accepted[inside]
    owner, rejected = pair[0][target], 1 - accepted[target]
    owner, rejected = owner[np.isfinite(rejected)], rejected[np.isfinite(rejected)]
    rates, smoothed = {}, []
    for gender in ("female", "male"):
        group = (data.groups[gender] & data.groups["adult"])[owner]
        if not group.any():
            return None
        drawn = weights[:, owner[group]]
        rates[gender] = Estimate.of(metrics.weighted_mean(rejected[group], drawn))
        smoothed.append((drawn @ rejected[group] + 0.5) / (drawn.sum(axis=1) + 1))
    ratio = np.maximum(*smoothed) / np.minimum(*smoothed)
    return {"false_reject_rate": rates, "worst_over_best": Estimate.of(ratio)}


def _ratios(data: TrialSet, part: Slice, calibrated: Calibrated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the slice's trials that have a ratio: it (t,), target (t,) bool, and the pairs of speakers (2, t)."""
    inside, _, target, pair = part.trials_of(data)
    ratios = calibrated.ratios[inside]
    has = np.isfinite(ratios)
    return ratios[has], target[has], pair[:, has]


def _curve(part: Slice, scores: np.ndarray, target: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    return part.label, scores[target], scores[~target]


def _pauses(clip: Waveform) -> Waveform | None:
    """What is not speech, without its edges; None where it is under 0.3 s."""
    silent = np.ones(len(clip.samples), dtype=bool)
    for start, end in quality.speech_segments(clip):
        first, last = (round(second * clip.sample_rate) for second in (start - GUARD_SECONDS, end + GUARD_SECONDS))
        silent[max(0, first) : last] = False
    samples = clip.samples[silent]
    return Waveform(samples, clip.sample_rate) if len(samples) >= MIN_SILENCE_SECONDS * clip.sample_rate else None


def _jsonable(content: Any) -> Any:
    """Estimates as objects, and null for what is not a finite number."""
    if isinstance(content, Estimate):
        return _jsonable(asdict(content))
    if isinstance(content, dict):
        return {name: _jsonable(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_jsonable(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 where the pipeline or the trials are refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech evaluate", description="Evaluate a pipeline.")
    parser.add_argument("--pipeline", required=True, type=Path, help="the pipeline folder that train left")
    add_arguments(parser)
    parser.add_argument(
        "--recalibrate", action="store_true", help="leave the calibration and the threshold for 1 %% in the pipeline"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    try:
        pipeline = ScoringPipeline.load(options.pipeline, device=options.device)
        document = run(pipeline, options)
        if options.recalibrate:
            _recalibrate(options.pipeline, document["calibration"])
    except (EvaluationError, PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"error: {getattr(error, 'code', 'unreadable_file')}: {error}\n")
        return REFUSED
    sys.stdout.write(markdown(document))
    return DONE


def _recalibrate(folder: Path, calibration: dict[str, Any] | None) -> None:
    if calibration is None:
        raise EvaluationError("unsupported_rate", "a threshold for 1 % needs at least 300 impostor trials")
    fitted = {name: value for name, value in calibration.items() if name != "threshold"}
    recalibrate(folder, scoring.Calibration.from_dict(fitted), calibration["threshold"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command and ``manage.py evaluate`` have in common."""
    names = [condition.name for condition in CONDITIONS]
    parser.add_argument("--enrollment", required=True, type=Path, help="CSV with columns speaker, audio")
    parser.add_argument("--trials", required=True, type=Path, help="CSV with columns speaker, audio, target (1 or 0)")
    parser.add_argument("--audio-root", required=True, type=Path, help="the folder that audio is relative to")
    parser.add_argument("--clips", type=Path, help="table with speaker, gender, age: figures by group")
    parser.add_argument("--noise", type=Path, help="folder of noises; without it the SNR conditions are left out")
    parser.add_argument("--output", required=True, type=Path, help="folder for the tables and charts")
    parser.add_argument("--conditions", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=0)


def run(pipeline: ScoringPipeline, options: argparse.Namespace) -> dict[str, Any]:
    """evaluate() as the options of add_arguments() say, with a bar on stderr."""
    data = load(options.enrollment, options.trials, options.audio_root, options.clips)
    noises = noise.load(options.noise, "evaluation") if options.noise else []
    chosen = chosen_conditions(options.conditions, noisy=bool(noises))
    with tqdm(unit="clip", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate(pipeline, data, chosen, noises, options.output, seed=options.seed, progress=progress)
