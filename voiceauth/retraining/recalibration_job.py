"""Fitting another calibration in a worker, and counting what it would have decided on past calls.

Nothing is in force afterwards: ``recalibration_services`` asks a second person for that.
"""

import logging
import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np
from django.utils import timezone

from mltraining import scorer
from mltraining.models import ModelVersion
from mltraining.scorer import LoadedModel
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.evaluation.recalibration import Recalibration as Fitted
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.quality_measures import QualityMeasures
from voiceauth.platform.jobs import runner
from voiceauth.platform.jobs.patience import patiently
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.policies import selectors as policies
from voiceauth.retraining import labelled, recalibration
from voiceauth.retraining.errors import CannotCalibrate
from voiceauth.retraining.models import Recalibration, TrainingSpeaker
from voiceauth.retraining.recalibration import EVEN_ODDS, Source
from voiceauth.verification.models import Decision
from voiceauth.verification.selectors import decided_by_score

logger = logging.getLogger(__name__)

DAYS = 30
MOST_CALLS = 200_000  # the latest, so that they fit into memory: 200,000 take about 20 MB
Kind = Recalibration.Source


def execute(recalibration_id: uuid.UUID) -> None:
    """Carry a queued fit out."""
    runner.run(Recalibration, recalibration_id, carry_out)


def carry_out(attempt: Attempt[Recalibration]) -> None:
    """Score the trials, fit, and count past calls. Raises ``CannotCalibrate`` and ``AttemptStopped``."""
    job = attempt.job
    model = patiently(scorer.load, job.model_id)
    rate = patiently(policies.in_force).verification.target_far
    attempt.check(phase="scoring trials")

    def progress(done: int, total: int) -> None:
        attempt.check(progress_percent=90 * done / max(total, 1))

    try:
        source = _source(job, model, progress)
        fitted = recalibration.fit(model.pipeline, source, target_far=rate, prior=EVEN_ODDS)
    except (AudioError, OSError, ValueError) as error:  # a message may name a speaker
        logger.info("no calibration was fitted: %s", getattr(error, "code", type(error).__name__))
        raise CannotCalibrate(f"{CannotCalibrate.message} {_words(error)}") from error
    attempt.check(phase="counting past calls", progress_percent=95)
    attempt.save(
        target_far=rate,
        parameters=fitted.calibration.to_dict(),
        measured_on=asdict(source.measured_on(fitted)),
        found=fitted.lines()[:-1],  # without the numbers, which ``parameters`` holds
        preview=patiently(past_calls, model.version, fitted, rate),
    )


def _source(job: Recalibration, model: LoadedModel, progress: recalibration.Progress) -> Source:
    if job.source == Kind.CASES:
        return recalibration.of_decisions(
            labelled.by_cases(), ModelVersion.objects.get(pk=job.model_id), name="review cases"
        )
    if job.source == Kind.FROZEN_SET:
        return recalibration.of_frozen_set(model.pipeline, progress=progress)
    trained = TrainingSpeaker.objects.filter(model=job.model_id).values_list("customer_id", flat=True)
    return recalibration.of_customers(model.pipeline, trained=set(trained), progress=progress)


def _words(error: Exception) -> str:
    """Say what is missing, where the message names nobody."""
    return f"{error}." if getattr(error, "code", "") == "unsupported_rate" else "There are too few trials of one kind."


def past_calls(version: str, fitted: Fitted, in_force: float) -> dict[str, Any]:
    """Count what each threshold of the fitted calibration would have decided on the calls of the last ``DAYS``.

    ``in_force`` is the policy's rate for calls without a tier. Calls that their score alone decided are counted, from
    their stored scores and measures: ``{"days", "total", "accepted", "outcomes": [{"rate", "probability", …}]}``.
    """
    calls = decided_by_score(version, since=timezone.now() - timedelta(days=DAYS)).exclude(score=None)
    measured = ("score", "speech_seconds", "enrollment_speech_seconds", "snr_db")
    rows = calls.exclude(speech_seconds=None).exclude(enrollment_speech_seconds=None).exclude(snr_db=None)
    found = rows.order_by("-created_at").values_list(*measured, "decision")[:MOST_CALLS]
    table = list(found)
    numbers = np.array([row[:4] for row in table], dtype=float).reshape(-1, 4)
    then = np.array([row[4] == Decision.Result.ACCEPT for row in table], dtype=bool)
    calibration: Calibration = fitted.calibration
    ratios = calibration.log_likelihood_ratio(numbers[:, 0], QualityMeasures(*numbers[:, 1:].T))
    outcomes = []
    for rate, least in sorted(calibration.thresholds, reverse=True):
        now = ratios >= least
        outcomes.append(
            {
                "rate": rate,
                "probability": calibration.threshold_probability(least),
                "ratio": least,
                "accepted": int(now.sum()),
                "newly_accepted": int((now & ~then).sum()),
                "newly_rejected": int((~now & then).sum()),
                "in_force": False,
            }
        )
    for each in outcomes:  # the strictest rate that keeps the policy's promise, as ``calibrations.threshold`` takes it
        if each["rate"] <= in_force * (1 + 1e-9):
            each["in_force"] = True
            break
    return {"days": DAYS, "total": len(table), "accepted": int(then.sum()), "outcomes": outcomes}
