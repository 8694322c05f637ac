"""The ``calibrate`` command: fit a pipeline's calibration and threshold anew, on trials.

``python -m mltraining.speech calibrate PIPELINE_FOLDER --speech DIR --target-far 0.01``. The embedding space, the
voiceprints and the cohort stay as they are: nobody is embedded again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.figures import Figure, Trials
from mltraining.speech.evaluation.fitting import cross_fit, fit_with_thresholds
from mltraining.speech.evaluation.trials import (
    ScoredTrials,
    TrialList,
    add_speech_arguments,
    score_labelled_trials,
    take_from_speech_folder,
)
from mltraining.speech.scoring.calibration import Calibration, check_supported, threshold_for
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline, recalibrate

DONE, REFUSED = 0, 2
SPEECH = ("enrollment", "trials", "audio_root")


@dataclass(frozen=True)
class Recalibration:
    """A fitted calibration, the threshold on its probability, and what was measured on the trials.

    The equal error rate is that of the scores, before any calibration. The other two error rates are at the threshold,
    which is ``llr_threshold`` as a log-likelihood ratio. ``cllr_before`` is under the calibration in force;
    ``cllr_after`` and ``min_cllr`` are of the trials within halves of the speakers, each calibrated by the other half
    (None where there are too few speakers for that). Cllr is in bits.
    """

    calibration: Calibration
    threshold: float
    llr_threshold: float
    equal_error_rate: Figure
    false_accept_rate: Figure
    false_reject_rate: Figure
    cllr_before: float
    cllr_after: float | None
    min_cllr: float | None
    trials: Trials
    left_out: int

    def lines(self) -> list[str]:
        """Describe the result for people, a line each."""
        crossed = "not measurable, because there are too few speakers"
        if self.cllr_after is not None:
            crossed = f"{self.cllr_after:.4f} (at best {self.min_cllr:.4f})"
        counts = self.trials
        return [
            f"trials: {counts.target_trials} target, {counts.impostor_trials} impostor, {counts.speakers} speakers; "
            f"{self.left_out} left out",
            f"Cllr: {self.cllr_before:.4f} under the calibration in force; cross-fitted over the speakers: {crossed}",
            f"threshold: {self.threshold:.6g} on the probability, log-likelihood ratio {self.llr_threshold:+.3f}",
            f"equal error rate: {self.equal_error_rate.percent()}",
            f"false accepts: {self.false_accept_rate.percent()}",
            f"false rejects: {self.false_reject_rate.percent()}",
            f"calibration: {json.dumps(self.calibration.to_dict())}",
        ]


def fit_on_trials(
    trials: ScoredTrials, *, target_far: float, in_force: Calibration, prior: float | None = None
) -> Recalibration:
    """Fit on all trials, and set the threshold where at most ``target_far`` of the impostors are accepted.

    ``prior`` is that of the calibration in force where none is given. Raises UnsupportedRate where the trials are too
    few for the rate, ValueError where one kind is missing.
    """
    prior = in_force.prior if prior is None else prior
    target, impostor = trials.is_target, ~trials.is_target
    check_supported(target_far, int(impostor.sum()))
    calibration = fit_with_thresholds(trials, fitting_prior=prior, prior=prior)
    ratios = calibration.log_likelihood_ratio(trials.scores, trials.measures)
    llr_threshold = threshold_for(ratios[target], ratios[impostor], target_far)
    counts = Trials.of(trials.is_target, trials.speakers, trials.test_speakers)
    accepted = ratios >= llr_threshold

    before = in_force.log_likelihood_ratio(trials.scores, trials.measures)
    crossed = cross_fit(trials, prior).ratios
    held = np.isfinite(crossed)
    halves = (crossed[held & target], crossed[held & impostor])
    measurable = all(len(each) for each in halves)
    return Recalibration(
        calibration=calibration,
        threshold=calibration.threshold_probability(llr_threshold),
        llr_threshold=llr_threshold,
        equal_error_rate=Figure.of_rate(
            metrics.equal_error_rate(trials.scores[target], trials.scores[impostor]),
            min(counts.target_trials, counts.impostor_trials),
            counts,
        ),
        false_accept_rate=Figure.of_errors(accepted[impostor], counts),
        false_reject_rate=Figure.of_errors(~accepted[target], counts),
        cllr_before=metrics.cllr(before[target], before[impostor]),
        cllr_after=metrics.cllr(*halves) if measurable else None,
        min_cllr=metrics.min_cllr(*halves) if measurable else None,
        trials=counts,
        left_out=trials.left_out,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the folder, a table or the rate is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech calibrate", description=__doc__)
    parser.add_argument("pipeline", type=Path, help="the pipeline folder that train left")
    add_speech_arguments(parser, *SPEECH)
    parser.add_argument("--target-far", type=float, required=True, help="the false-accept rate to stay under")
    parser.add_argument(
        "--strangers", action="store_true", help="state that no speaker of the trials trained the model"
    )
    parser.add_argument("--prior", type=float, help="probability of a target trial; default: keep it")
    parser.add_argument("--dry-run", action="store_true", help="measure and change nothing")
    options = parser.parse_args(arguments)
    try:
        take_from_speech_folder(options, *SPEECH)
        pipeline = ScoringPipeline.load(options.pipeline)
        given = TrialList.read(options.enrollment, options.trials, options.audio_root)
        found = fit_on_trials(
            score_labelled_trials(pipeline, given),
            target_far=options.target_far,
            in_force=pipeline.calibration,
            prior=options.prior,
        )
        if not options.dry_run:
            measured_on = asdict(found.trials) | {
                "strangers": options.strangers,
                "source": f"trials {options.trials.name}",
            }
            recalibrate(options.pipeline, found.calibration, found.threshold, measured_on)
    except (PipelineError, OSError, ValueError) as error:
        code = getattr(error, "code", None)
        sys.stderr.write(f"{code}: {error}\n" if code else f"{error}\n")
        return REFUSED
    sys.stdout.write("\n".join(found.lines()) + "\n")
    return DONE
