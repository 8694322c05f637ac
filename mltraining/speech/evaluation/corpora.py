"""The ``evaluate-corpora`` command: does a calibration hold on speech and lines that it was not fitted on?

``python -m mltraining.speech evaluate-corpora --pipeline FOLDER --corpus NAME=DIR --calls NAME=DIR …`` takes several
folders of speech (docs/speech-format.md). Each is left out in turn: the calibration and the threshold for a
false-accept rate of 1 % are fitted on the others, and tried on it. With ``--recalibrate``, what is fitted on all of
them goes into the pipeline.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mltraining.speech.audio.errors import AudioError
from mltraining.speech.evaluation import metrics
from mltraining.speech.evaluation.conditions import chosen_conditions, load_audio, score_in_conditions
from mltraining.speech.evaluation.figures import Trials
from mltraining.speech.evaluation.fitting import distribution, fit_evenly
from mltraining.speech.evaluation.slices import EVEN_ODDS, FITTING_PRIOR, TARGET_FALSE_ACCEPT_RATE, pooled
from mltraining.speech.evaluation.trials import SPEECH_FOLDER, EvaluationError, ScoredTrials, TrialList
from mltraining.speech.scoring.calibration import UnsupportedRate
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline, recalibrate

DONE, REFUSED = 0, 2
LINES = ("recorded", "g711", "gsm")  # that a corpus of ordinary recordings is heard through
CALLS = LINES[:1]  # real calls are heard as they were recorded


@dataclass(frozen=True)
class LeftOut:
    """What a calibration that was fitted on the other corpora does on one: rates from 0 to 1, Cllr in bits.

    ``eer`` and ``min_cllr`` are what the scores allow. ``false_accept_rate`` is measured where 1 % was asked for; None
    where the other corpora hold too few trials for that.
    """

    corpus: str
    target_trials: int
    impostor_trials: int
    speakers: int
    eer: float
    false_accept_rate: float | None
    false_reject_rate: float | None
    cllr: float
    min_cllr: float


def leave_one_out(corpora: Mapping[str, ScoredTrials]) -> list[LeftOut]:
    """Judge each corpus by a calibration of the others. Raises EvaluationError ``too_few_corpora`` for fewer than two.

    Each corpus weighs the same in the fit, however many trials it has.
    """
    if len(corpora) < 2:
        raise EvaluationError("too_few_corpora", "give two corpora or more, so that one can be left out")
    found = []
    for name, trials in corpora.items():
        calibration = fit_evenly(
            [each for other, each in corpora.items() if other != name], fitting_prior=FITTING_PRIOR, prior=EVEN_ODDS
        )
        ratios = calibration.log_likelihood_ratio(trials.scores, trials.measures)
        target, impostor = ratios[trials.is_target], ratios[~trials.is_target]
        threshold = calibration.threshold_at(TARGET_FALSE_ACCEPT_RATE)
        accepted = None if threshold is None else calibration.probability(ratios) >= threshold
        counts = Trials.of(trials.is_target, trials.speakers, trials.test_speakers)
        found.append(
            LeftOut(
                corpus=name,
                target_trials=counts.target_trials,
                impostor_trials=counts.impostor_trials,
                speakers=counts.speakers,
                eer=metrics.equal_error_rate(target, impostor),
                false_accept_rate=None if accepted is None else float(accepted[~trials.is_target].mean()),
                false_reject_rate=None if accepted is None else float((~accepted)[trials.is_target].mean()),
                cllr=metrics.cllr(target, impostor),
                min_cllr=metrics.min_cllr(target, impostor),
            )
        )
    return found


def score(pipeline: ScoringPipeline, folder: Path, conditions: Sequence[str]) -> ScoredTrials:
    """Score the trials of a folder of speech in some conditions, one after the other.

    A recording that no target trial names a speaker of is left out. Raises what ``load_audio`` raises.
    """
    given = TrialList.read(*(folder / SPEECH_FOLDER[name][0] for name in ("enrollment", "trials", "audio_root")))
    known = given.trials["audio"].isin(set(given.owners()))
    audio = load_audio(TrialList(given.enrollment, given.trials[known].reset_index(drop=True), given.audio_root))
    trials = pooled(audio, score_in_conditions(pipeline, audio, chosen_conditions(conditions, noisy=False)))
    names = np.array(audio.speakers, dtype=object)
    return replace(trials, speakers=names[trials.speakers], test_speakers=names[trials.test_speakers])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, or 2 where the pipeline or a corpus is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech evaluate-corpora", description=__doc__)
    parser.add_argument("--pipeline", required=True, type=Path, help="the pipeline folder that train left")
    given: dict[str, Any] = {"action": "append", "default": [], "type": _named, "metavar": "NAME=DIR"}
    parser.add_argument("--corpus", **given, help="a folder of speech, also heard through simulated telephones")
    parser.add_argument("--calls", **given, help="a folder of real telephone calls, heard as recorded alone")
    parser.add_argument("--recalibrate", action="store_true", help="write what all corpora fit into the pipeline")
    parser.add_argument("--strangers", action="store_true", help="state that none of the speakers trained the model")
    options = parser.parse_args(arguments)
    try:
        pipeline = ScoringPipeline.load(options.pipeline)
        lines = {name: LINES for name, _ in options.corpus} | {name: CALLS for name, _ in options.calls}
        folders = dict(options.corpus + options.calls)
        corpora = {name: score(pipeline, folders[name], lines[name]) for name in lines}
        sys.stdout.write(markdown(leave_one_out(corpora)))
        if options.recalibrate:
            heard_once = [
                trials.take(np.arange(len(trials.scores) // len(lines[name]))) for name, trials in corpora.items()
            ]
            _recalibrate(options.pipeline, corpora, heard_once, strangers=options.strangers)
    except (EvaluationError, PipelineError, AudioError, UnsupportedRate, OSError) as error:
        sys.stderr.write(f"error: {getattr(error, 'code', 'unreadable_file')}: {error}\n")
        return REFUSED
    return DONE


def markdown(found: Sequence[LeftOut]) -> str:
    """Return the table for people, rates in percent, with the worst and the mean."""
    heading = "| left out | target | impostor | EER | FAR at the threshold for 1 % | FRR there | Cllr | minCllr |"
    lines = [heading, "| --- |" + " ---: |" * 7]
    for each in found:
        rates = [_percent(each.eer), _percent(each.false_accept_rate), _percent(each.false_reject_rate)]
        counts = f"{each.target_trials:,} | {each.impostor_trials:,}"
        lines.append(f"| {each.corpus} | {counts} | {' | '.join(rates)} | {each.cllr:.3f} | {each.min_cllr:.3f} |")
    measured = [each.false_accept_rate for each in found if each.false_accept_rate is not None]
    if measured:
        lines += [
            "",
            f"FAR where 1 % was asked: mean {_percent(float(np.mean(measured)))} %, worst {_percent(max(measured))} %",
        ]
    return "\n".join(lines) + "\n"


def _recalibrate(
    folder: Path, corpora: Mapping[str, ScoredTrials], heard_once: Sequence[ScoredTrials], *, strangers: bool
) -> None:
    """Write what all corpora fit. The same recording through two lines is no second trial, so one line is counted."""
    calibration = fit_evenly(list(corpora.values()), fitting_prior=FITTING_PRIOR, prior=EVEN_ODDS)
    threshold = calibration.threshold_at(TARGET_FALSE_ACCEPT_RATE)
    if threshold is None:
        raise EvaluationError("unsupported_rate", "a threshold for 1 % needs at least 300 impostor trials")
    joined = ScoredTrials.joined(heard_once)
    counts = Trials.of(joined.is_target, joined.speakers, joined.test_speakers)
    measured_on = asdict(counts) | {"strangers": strangers, "source": f"trials of {', '.join(corpora)}"}
    measured_on |= {"distribution": distribution(list(corpora.values()), calibration)}
    recalibrate(folder, calibration, threshold, measured_on)


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("write NAME=DIR")
    return name, Path(folder)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
