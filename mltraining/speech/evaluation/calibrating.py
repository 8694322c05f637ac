"""``python -m mltraining.speech calibrate PIPELINE_FOLDER``: fit the calibration and the threshold anew, on trials.

The embedding space, the voiceprints and the cohort stay as they are: nobody is embedded again.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.trials import Trial, compare_trials
from mltraining.speech.scoring import scores as scoring
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline, recalibrate
from mltraining.speech.scoring.scores import Calibration, Conditions

DONE, REFUSED = 0, 2


@dataclass(frozen=True, eq=False)
class Trials:
    """Scored trials of a known truth: arrays (n,), those in ``conditions`` as well.

    ``speakers`` are the claimed ones, ``test_speakers`` those who speak. ``left_out``: trials that had no score.
    """

    scores: np.ndarray
    is_target: np.ndarray
    conditions: Conditions
    speakers: np.ndarray
    test_speakers: np.ndarray
    left_out: int = 0


@dataclass(frozen=True)
class Outcome:
    """A fitted calibration, the threshold on its probability, and what was measured on the trials.

    ``rates`` are at ``llr_threshold``, the same threshold as a log-likelihood ratio. ``cllr_before`` is under the
    calibration in force, ``cllr_after`` and ``min_cllr`` on the trials within halves of the speakers, calibrated by
    the other half (None where there are too few speakers for that); all in bits.
    """

    calibration: Calibration
    threshold: float
    llr_threshold: float
    rates: metrics.Rates
    cllr_before: float
    cllr_after: float | None
    min_cllr: float | None
    target_trials: int
    impostor_trials: int
    speakers: int
    left_out: int

    def lines(self) -> list[str]:
        """For people, a line each."""

        def percent(rate: float, interval: tuple[float, float]) -> str:
            return f"{100 * rate:.2f} % (95 %: {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %)"

        crossed = "not measurable: too few speakers"
        if self.cllr_after is not None:
            crossed = f"{self.cllr_after:.4f} (at best {self.min_cllr:.4f})"
        return [
            f"trials: {self.target_trials} target, {self.impostor_trials} impostor, {self.speakers} claimed speakers; "
            f"{self.left_out} left out",
            f"Cllr: {self.cllr_before:.4f} under the calibration in force; {crossed} cross-fitted over the speakers",
            f"threshold: {self.threshold:.6g} on the probability, log-likelihood ratio {self.llr_threshold:+.3f}",
            f"false accepts: {percent(self.rates.false_accept_rate, self.rates.false_accept_interval)}",
            f"false rejects: {percent(self.rates.false_reject_rate, self.rates.false_reject_interval)}",
            f"calibration: {json.dumps(self.calibration.to_dict())}",
        ]


def read_trials(
    pipeline: ScoringPipeline,
    enrollment: pd.DataFrame,
    trials: pd.DataFrame,
    audio_root: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trials:
    """Score ``trials`` (columns speaker, audio, target: 1 or 0) against ``enrollment`` (columns speaker, audio).

    Who speaks in a clip is known from its target trial; a clip without one counts as the claimed speaker's own. A
    trial without a score, or without speech, is left out. Raises ValueError for another target.
    """
    target = trials["target"].astype(str).str.strip()
    if unknown := set(target) - {"0", "1"}:
        raise ValueError(f"target is 1 or 0, not {sorted(unknown)[0]!r}")
    is_target = (target == "1").to_numpy()
    speakers, audio = trials["speaker"].astype(str).to_numpy(), trials["audio"].astype(str)
    spoken_by = dict(zip(audio[is_target], speakers[is_target], strict=True))
    test_speakers = np.array([spoken_by.get(*pair) for pair in zip(audio, speakers, strict=True)], dtype=object)

    compared = compare_trials(pipeline, enrollment, trials, audio_root, progress)
    scored = [
        (row, each) for row, each in enumerate(compared) if isinstance(each, Trial) and each.quality.speech_seconds > 0
    ]
    rows = np.array([row for row, _ in scored], dtype=int)
    return Trials(
        scores=np.array([each.score for _, each in scored]),
        is_target=is_target[rows],
        conditions=Conditions(
            np.array([each.quality.speech_seconds for _, each in scored]),
            np.array([each.enrollment_speech_seconds for _, each in scored]),
            np.array([each.quality.snr_db for _, each in scored]),
        ),
        speakers=speakers[rows],
        test_speakers=test_speakers[rows],
        left_out=len(trials) - len(rows),
    )


def calibrate(trials: Trials, *, target_far: float, in_force: Calibration, prior: float | None = None) -> Outcome:
    """Fit on all trials and put the threshold where at most ``target_far`` of the impostors are accepted.

    ``prior`` is that of the calibration in force where none is given. Raises UnsupportedRate where the trials are too
    few for the rate, ValueError where one kind is missing.
    """
    prior = in_force.prior if prior is None else prior
    target, impostor = trials.is_target, ~trials.is_target
    scoring.check_supported(target_far, int(impostor.sum()))
    calibration = scoring.fit_calibration(
        trials.scores[target],
        trials.scores[impostor],
        prior,
        target_conditions=trials.conditions.take(target),
        impostor_conditions=trials.conditions.take(impostor),
    )
    ratios = calibration.log_likelihood_ratio(trials.scores, trials.conditions)
    calibration = calibration.with_thresholds(ratios[target], ratios[impostor])
    llr_threshold = scoring.threshold_for(ratios[target], ratios[impostor], target_far)
    # A threshold of 1 would refuse everybody whose probability rounds to less.
    threshold = min(float(calibration.probability(llr_threshold)), math.nextafter(1, 0))

    before = in_force.log_likelihood_ratio(trials.scores, trials.conditions)
    crossed = scoring.cross_fit(trials.scores, target, trials.speakers, trials.test_speakers, trials.conditions, prior)
    held = np.isfinite(crossed)
    halves = (crossed[held & target], crossed[held & impostor])
    measurable = all(len(each) for each in halves)
    return Outcome(
        calibration=calibration,
        threshold=threshold,
        llr_threshold=llr_threshold,
        rates=metrics.rates_at(ratios[target], ratios[impostor], llr_threshold),
        cllr_before=metrics.cllr(before[target], before[impostor]),
        cllr_after=metrics.cllr(*halves) if measurable else None,
        min_cllr=metrics.min_cllr(*halves) if measurable else None,
        target_trials=int(target.sum()),
        impostor_trials=int(impostor.sum()),
        speakers=len(np.unique(trials.speakers.astype(str))),
        left_out=trials.left_out,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 where the folder, a table or the rate is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech calibrate", description=__doc__)
    parser.add_argument("pipeline", type=Path, help="the pipeline folder that train left")
    parser.add_argument("--enrollment", type=Path, required=True, help="CSV with columns speaker, audio")
    parser.add_argument("--trials", type=Path, required=True, help="CSV with columns speaker, audio, target (1 or 0)")
    parser.add_argument("--audio-root", type=Path, required=True, help="the folder that audio is relative to")
    parser.add_argument("--target-far", type=float, required=True, help="the false-accept rate to stay under")
    parser.add_argument("--prior", type=float, help="probability of a target trial; default: as it is")
    parser.add_argument("--dry-run", action="store_true", help="measure and change nothing")
    options = parser.parse_args(arguments)
    try:
        pipeline = ScoringPipeline.load(options.pipeline)
        enrollment, table = (
            pd.read_csv(path, dtype=str, keep_default_na=False) for path in (options.enrollment, options.trials)
        )
        trials = read_trials(pipeline, enrollment, table, options.audio_root)
        outcome = calibrate(trials, target_far=options.target_far, in_force=pipeline.calibration, prior=options.prior)
        if not options.dry_run:
            recalibrate(options.pipeline, outcome.calibration, outcome.threshold)
    except (PipelineError, OSError, KeyError, ValueError) as error:
        code = getattr(error, "code", None)
        sys.stderr.write(f"{code}: {error}\n" if code else f"{error}\n")
        return REFUSED
    sys.stdout.write("\n".join(outcome.lines()) + "\n")
    return DONE
