"""Fitting a model's calibration anew on trials whose truth is known. Runs in a worker or a command, never for the web.

Four sources of trials: tables of recordings, the frozen set, the enrolled customers who did not train the model
(``customer_trials``), and the bank's own decisions (``labelled``).
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
from django.conf import settings

from mltraining.calibrations import MeasuredOn
from mltraining.models import Calibration, ModelVersion
from mltraining.scorer import LoadedModel
from mltraining.speech.evaluation.fitting import distribution
from mltraining.speech.evaluation.recalibration import Recalibration, fit_on_trials
from mltraining.speech.evaluation.trials import EvaluationError, ScoredTrials, TrialList, score_labelled_trials
from mltraining.speech.scoring.pipeline import ScoringPipeline, recalibrate
from voiceauth.platform.audit import Actor
from voiceauth.policies import selectors as policies
from voiceauth.retraining import customer_trials, labelled, recalibration_services, training_settings

logger = logging.getLogger(__name__)

EVEN_ODDS = 0.5  # the prior of the probabilities that a model answers with, like that of the model that ships
Progress = Callable[[int, int], None]  # recordings done, recordings in all


@dataclass(frozen=True, eq=False)
class Source:
    """Scored trials, where they come from, and whether none of their speakers trained the model."""

    trials: ScoredTrials
    name: str
    strangers: bool

    def measured_on(self, fitted: Recalibration) -> MeasuredOn:
        """Return the numbers of trials and speakers, and how the fitted ratios are distributed."""
        target = int(self.trials.is_target.sum())
        return MeasuredOn(
            target_trials=target,
            impostor_trials=len(self.trials.is_target) - target,
            speakers=len(set(self.trials.speakers)),
            strangers=self.strangers,
            source=self.name,
            distribution=distribution([self.trials], fitted.calibration),
        )


def silent(done: int, total: int) -> None:
    """Report no progress."""


def of_tables(
    pipeline: ScoringPipeline,
    *,
    enrollment: Path,
    trials: Path,
    audio_root: Path,
    strangers: bool,
    progress: Progress = silent,
) -> Source:
    """Score trials of recordings. ``enrollment``: CSV with columns speaker, audio; ``trials``: and target (1 or 0).

    ``strangers`` is the caller's word that none of these speakers trained the model. Raises ``EvaluationError`` for a
    table that cannot be read.
    """
    scored = score_labelled_trials(pipeline, TrialList.read(enrollment, trials, audio_root), progress)
    return Source(scored, f"trials {trials.name}", strangers)


def of_frozen_set(pipeline: ScoringPipeline, *, progress: Progress = silent) -> Source:
    """Score the trials of ``VOICEAUTH_FROZEN_SET_DIR``, whose speakers are kept out of every training.

    Raises as ``of_tables`` does, and ``EvaluationError`` where there is no frozen set.
    """
    folder: Path | None = settings.VOICEAUTH_FROZEN_SET_DIR
    if folder is None:
        raise EvaluationError("no_frozen_set", "VOICEAUTH_FROZEN_SET_DIR names no frozen set.")
    found = of_tables(
        pipeline,
        enrollment=folder / "enrollment.csv",
        trials=folder / "trials.csv",
        audio_root=folder / "audio",
        strangers=True,
        progress=progress,
    )
    return Source(found.trials, "the frozen set", strangers=True)


def of_customers(pipeline: ScoringPipeline, *, trained: Collection[UUID], progress: Progress = silent) -> Source:
    """Score trials of the enrolled customers whose recordings did not train the model.

    Raises ``ValueError`` where there are too few of them.
    """
    trials = customer_trials.trials_of(pipeline, trained=trained, progress=progress)
    return Source(trials, "enrolled customers whose recordings did not train the model", strangers=True)


def of_decisions(labels: pd.DataFrame, model: ModelVersion, *, name: str) -> Source:
    """Take decisions as trials. ``labels``: columns decision_id, target (1 or 0); see ``labelled.trials_of``.

    Customers who trained the model are left out. Who they were is not known any more once one of them is erased, so
    the decisions are then no evidence about strangers.
    """
    return Source(labelled.trials_of(labels, model), name, strangers=model.erased_speakers == 0)


def fit(pipeline: ScoringPipeline, source: Source, *, target_far: float | None, prior: float | None) -> Recalibration:
    """Fit the calibration, and measure it at ``target_far``, by default the policy's rate for calls without a tier.

    Raises ``UnsupportedRate`` where the trials are too few for the rate, ``ValueError`` where one kind is missing.
    """
    rate = policies.in_force().verification.target_far if target_far is None else target_far
    return fit_on_trials(source.trials, target_far=rate, in_force=pipeline.calibration, prior=prior)


def put_into_force(model: LoadedModel, source: Source, fitted: Recalibration, *, actor: Actor) -> Calibration:
    """Read the model's scores by the fitted calibration from the next call on.

    Raises ``NotEnoughEvidence`` where the model is in service with enough evidence and would have too little of it.
    """
    return recalibration_services.put_into_force(
        version=model.version,
        parameters=fitted.calibration.to_dict(),
        measured_on=source.measured_on(fitted),
        actor=actor,
    )


def calibrate_candidate(
    folder: Path, *, config: Mapping[str, Any], trained: Collection[UUID], progress: Progress = silent
) -> None:
    """Calibrate the pipeline of a training run on strangers, before it is registered.

    They are the speakers of the frozen set, where there is one, or else the customers who are not among the
    ``trained``. The calibration that the training leaves is measured on speakers who trained the model, so it is no
    evidence. It stays where the strangers cannot be scored, or are too few for the policy's rate, and where the run
    started (``config``) from weights of which nobody knows whom they have heard.
    """
    frozen = settings.VOICEAUTH_FROZEN_SET_DIR is not None
    if not frozen and not training_settings.starts_without_customers(config):
        return
    pipeline = ScoringPipeline.load(folder)
    try:
        if frozen:
            source = of_frozen_set(pipeline, progress=progress)
        else:
            source = of_customers(pipeline, trained=trained, progress=progress)
        fitted = fit(pipeline, source, target_far=None, prior=EVEN_ODDS)
    except (OSError, ValueError) as error:
        code = getattr(error, "code", type(error).__name__)  # the message may name a speaker
        # A bank with few customers has no fault to mend.
        logger.log(logging.ERROR if frozen else logging.INFO, "no calibration on strangers: %s", code)
        return
    recalibrate(folder, fitted.calibration, fitted.threshold, asdict(source.measured_on(fitted)))
