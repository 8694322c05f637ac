"""Carrying a training run out in the training worker, from the export of the recordings to a registered candidate."""

import json
import logging
import time
import uuid
from pathlib import Path
from typing import Any

from django.db import transaction

from mltraining import registry
from mltraining.figures import finite
from mltraining.model_store import StoreError
from mltraining.speech.config import Config
from voiceauth.platform.jobs import runner
from voiceauth.platform.jobs.errors import GiveBack, JobFailed
from voiceauth.platform.jobs.patience import patiently
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.retraining import recalibration, training_data, training_process
from voiceauth.retraining.models import TrainingRun, TrainingSpeaker
from voiceauth.retraining.training_data import TrainingData

logger = logging.getLogger(__name__)

STORE_PAUSE_SECONDS = 5.0
EXPORT_PERCENT = 5.0  # of a run's progress
TRAINING_PERCENT = 93.0


def execute(run_id: uuid.UUID) -> None:
    """Carry a queued run out, and leave no recording of a run that has ended."""
    patiently(training_data.sweep)
    runner.run(TrainingRun, run_id, carry_out)
    patiently(training_data.sweep)


def carry_out(attempt: Attempt[TrainingRun]) -> None:
    """Export, train and register. Raises ``JobFailed``, ``DomainError`` and ``AttemptStopped``."""
    run = attempt.job
    folder = training_data.folder_of(run.id)

    def exported(share: float) -> None:
        attempt.check(phase="collecting", progress_percent=EXPORT_PERCENT * share)

    def check() -> None:
        attempt.check()
        if training_data.is_told_to_forget(folder):
            raise GiveBack("recordings_erased")

    data = patiently(training_data.export_manifest, folder, on_clip=exported)
    if len(data.customers) < 2:
        raise JobFailed("too_few_speakers", "Training needs at least two enrolled customers.")
    if not data.held_out:
        raise JobFailed("too_few_clips", "No customer has two recordings, so none can be held out for evaluation.")
    attempt.check(phase="training", speakers=len(data.customers), clips=len(data.samples))
    try:
        training_process.train(
            folder=folder,
            config=Config.from_dict(run.resolved_config),
            data_key=training_data.data_key_of(folder),
            on_event=_Progress(attempt).hear,
            check=check,
        )
    except (JobFailed, training_process.TrainerBroke):
        if not patiently(data.is_current):  # then it may have missed a recording that was erased under it
            raise GiveBack("recordings_erased") from None
        raise
    _register(attempt, data)


class _Progress:
    """What the training program says of its progress, saved on the run."""

    def __init__(self, attempt: Attempt[TrainingRun]) -> None:
        self.attempt = attempt
        self.metrics: list[dict[str, Any]] = attempt.job.metrics

    def hear(self, event: dict[str, Any]) -> None:
        """Save what one progress line says. Raises ``AttemptStopped``."""
        news: dict[str, Any] = {}
        if "percent" in event:
            news["progress_percent"] = EXPORT_PERCENT + TRAINING_PERCENT * float(event["percent"]) / 100
        if event.get("phase"):
            news["phase"] = str(event["phase"])[:32]
        if event.get("epochs"):
            news |= {"epoch": int(event.get("epoch") or 0), "epochs": int(event["epochs"])}
        if event.get("event") == "epoch":
            epoch = int(event["epoch"])
            earlier = [each for each in self.metrics if each["epoch"] < epoch]  # a resumed epoch comes again
            self.metrics = [*earlier, {"epoch": epoch, **finite(event.get("metrics") or {})}]
            news["metrics"] = self.metrics
        self.attempt.check(**news)


def _register(attempt: Attempt[TrainingRun], data: TrainingData) -> None:
    """Install the trained model's files, and register it as a candidate."""
    output = training_data.folder_of(attempt.job.id) / "output"
    # The program's own record: a worker that was killed may have missed an epoch's line.
    history = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["epochs"]
    attempt.check(phase="calibrating")
    recalibration.calibrate_candidate(
        output / "pipeline",
        config=attempt.job.resolved_config,
        trained=data.customers,
        progress=lambda done, total: attempt.check(),
    )
    patiently(attempt.save, phase="registering", metrics=finite(history))
    version = _install(attempt, output, [str(customer) for customer in data.customers])
    try:
        patiently(_record, attempt, data, version)
    except BaseException:
        registry.uninstall(version)
        raise


def _install(attempt: Attempt[TrainingRun], output: Path, names: list[str]) -> str:
    """Install the files, and return their version. A bucket that does not take them is waited for.

    Raises ``AttemptStopped``, and what else ``registry.install`` raises.
    """
    while True:
        try:
            return registry.install(pipeline=output / "pipeline", charts=output / "charts", private=names)
        except StoreError as error:
            logger.error("training run %s waits for the store of models: %s", attempt.job.pk, error)
            time.sleep(STORE_PAUSE_SECONDS)
            attempt.check()
            patiently(attempt.save)


@transaction.atomic
def _record(attempt: Attempt[TrainingRun], data: TrainingData, version: str) -> None:
    """Store the candidate, the customers whose recordings trained it, and the run's success, in one transaction."""
    if not attempt.hold():
        return
    model = registry.register(version=version)
    # Customers who were erased after the export have trained the model all the same.
    speakers = TrainingSpeaker.objects.bulk_create(
        TrainingSpeaker(model=model, customer_id=pk) for pk in training_data.consenting(data.customers)
    )
    model.erased_speakers = len(data.customers) - len(speakers)
    model.save(update_fields=["erased_speakers"])
    attempt.succeed(model=model)
