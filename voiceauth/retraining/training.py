"""Retraining on what customers have enrolled: asking for it, and carrying a run out in the training worker."""

import enum
import json
import logging
import time
import uuid
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction

from enrollment.models import Customer
from mltraining import registry
from mltraining.figures import finite
from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.errors import DomainError
from voiceauth.platform.jobs import shutdown
from voiceauth.platform.jobs.leases import HEARTBEAT_SECONDS, Claim, Order
from voiceauth.platform.jobs.patience import patiently
from voiceauth.retraining import promotion_states, runs, selectors, training_data, training_process, training_settings
from voiceauth.retraining.errors import TrainingFailed
from voiceauth.retraining.models import TrainingRun, TrainingSpeaker

logger = logging.getLogger(__name__)

SAVE_SECONDS = 1.0


def request_training(*, config: dict[str, Any], actor: Actor) -> TrainingRun:
    """Queue a retrain with ``config``, overrides like ``{"training.epochs": 15}``.

    Raises ``SettingNotAllowed`` and ``InvalidSetting``, which name the setting.
    """
    training_settings.resolve(config)
    return runs.create_run(config=config, actor=actor)


def request_scheduled_training() -> TrainingRun | None:
    """The beat's retrain; ``None`` where a run is under way already or there are no two voices to tell apart."""
    enough = Customer.objects.filter(state=Customer.State.ENROLLED).count() >= 2
    if selectors.unfinished_runs().exists() or not enough:
        return None
    return request_training(config={}, actor=SYSTEM)


def request_promotion(*, version: str, actor: Actor, force: bool = False, reason: str = "") -> ModelVersion:
    """Start to put a model into service; with ``force`` whatever the frozen set says, ``reason`` being audited.

    Raises ``ModelNotFound`` and ``PromotionInProgress``.
    """
    return promotion_states.begin_promotion(version=version, actor=actor, force=force, reason=reason)


def recover() -> None:
    """The sweep: runs and promotions whose worker died, or whose message was lost, are sent again."""
    runs.recover()
    promotion_states.recover_promotion()
    training_data.sweep()


def execute_training(run_id: uuid.UUID) -> None:
    """Carry a QUEUED run out, from the export to a registered candidate. Nothing where it is not ours to claim."""
    patiently(training_data.sweep)
    held = patiently(lambda: runs.claim(run_id))
    if held is None:
        return
    attempt = _Attempt(held)
    try:
        attempt.carry_out()
    except _Stopped as stopped:
        why = stopped.why
        patiently(lambda: attempt.settle(why))
    except (TrainingFailed, DomainError) as failure:
        code, message = failure.code, str(failure)
        patiently(lambda: runs.fail(held, code=code, message=message))
    except Exception as error:
        logger.exception("training run %s broke", run_id)
        name = type(error).__name__
        patiently(lambda: runs.fail(held, code="internal_error", message=name, bug=True))
    patiently(training_data.sweep)
    if not shutdown.in_progress():
        patiently(runs.send_next)


class _Why(enum.Enum):
    """Why an attempt stops before its end."""

    CANCELLED = "cancelled"
    LET_GO = "another worker has it"
    SHUTDOWN = "worker_shutdown"
    ERASED = "recordings_erased"
    KILLED = "trainer_killed"


class _Stopped(Exception):
    def __init__(self, why: _Why) -> None:
        self.why = why
        super().__init__(why.value)


class _Attempt:
    """One attempt at a run. ``check`` is called again and again, beats the heart and says when to stop."""

    def __init__(self, held: Claim) -> None:
        self.held = held
        self.folder: Path = training_data.folder_of(held.run_id)
        self.data: training_data.TrainingData | None = None
        self.metrics: list[dict[str, Any]] = []
        self.unsaved: dict[str, Any] = {}
        self.stopped: _Stopped | None = None
        self.beat_at = time.monotonic()

    def carry_out(self) -> None:
        """Raises ``_Stopped``; ``TrainingFailed`` and ``DomainError`` are expected ends."""
        run = patiently(lambda: TrainingRun.objects.get(id=self.held.run_id))
        self.metrics = run.metrics
        config = training_settings.resolve(run.config)
        self.unsaved = {"phase": "collecting", "resolved_config": config.to_dict()}
        self.data = patiently(lambda: training_data.export_manifest(self.folder, on_clip=self._exported))
        if len(self.data.customers) < 2:
            raise TrainingFailed("too_few_speakers", "Two enrolled customers at least are needed to train.")
        if not self.data.held_out:
            raise TrainingFailed("too_few_clips", "No customer has two recordings, so none can be held out.")
        self.unsaved |= {"phase": "training", "speakers": len(self.data.customers), "clips": len(self.data.samples)}
        outcome = training_process.train(
            folder=self.folder,
            recipe=training_settings.RECIPE,
            overrides=training_settings.overrides_of(run.config),
            processes=_processes(config.environment.gpus),
            data_key=training_data.data_key_of(self.folder),
            on_event=self._heard,
            keep_going=self._may_go_on,
        )
        if outcome.stopped:
            raise self.stopped or _Stopped(_Why.KILLED)
        if not outcome.succeeded:
            if not patiently(self.data.is_current):  # then it may have missed a recording
                raise _Stopped(_Why.ERASED)
            if outcome.code:
                raise TrainingFailed(outcome.code, outcome.message)
            raise RuntimeError(outcome.message)
        self._register()

    def check(self) -> None:
        """Raises ``_Stopped`` where the attempt must end. Beats the heart; the database may be away for a while."""
        if shutdown.in_progress():
            raise _Stopped(_Why.SHUTDOWN)
        now = time.monotonic()
        if now - self.beat_at < (SAVE_SECONDS if self.unsaved else HEARTBEAT_SECONDS):
            return
        self.beat_at = now
        try:
            order = runs.heartbeat(self.held, **self.unsaved)
            self.unsaved = {}
            if order is Order.LET_GO:
                raise _Stopped(_Why.LET_GO)
            if order is Order.CANCEL:
                raise _Stopped(_Why.CANCELLED)
        except (OperationalError, InterfaceError):
            connection.close()

    def settle(self, why: _Why) -> None:
        """The state that follows from why the attempt stopped."""
        match why:
            case _Why.CANCELLED:
                runs.cancelled(self.held)
            case _Why.KILLED:
                runs.lose(self.held, reason=why.value)
            case _Why.SHUTDOWN | _Why.ERASED:
                runs.give_back(self.held, reason=why.value)
            case _Why.LET_GO:
                logger.warning("training run %s went to another worker", self.held.run_id)

    def _exported(self, share: float) -> None:
        self.unsaved |= {"progress_percent": 5 * share}
        self.check()

    def _may_go_on(self) -> bool:
        try:
            self.check()
        except _Stopped as stopped:
            self.stopped = stopped
            return False
        return True

    def _heard(self, event: dict[str, Any]) -> None:
        """One progress line of the training program."""
        if "percent" in event:
            self.unsaved["progress_percent"] = 5 + 0.93 * float(event["percent"])
        if event.get("phase"):
            self.unsaved["phase"] = str(event["phase"])[:32]
        if event.get("epochs"):
            self.unsaved |= {"epoch": int(event.get("epoch") or 0), "epochs": int(event["epochs"])}
        if event.get("event") == "epoch":
            epoch = int(event["epoch"])
            earlier = [each for each in self.metrics if each["epoch"] < epoch]  # a resumed epoch comes again
            self.metrics = [*earlier, {"epoch": epoch, **finite(event.get("metrics") or {})}]
            self.unsaved["metrics"] = self.metrics

    def _register(self) -> None:
        """The candidate and the run's success, in one transaction."""
        assert self.data is not None
        # The program's own record: a worker that was killed may have missed an epoch's line.
        history = json.loads((self.folder / "output" / "metrics.json").read_text(encoding="utf-8"))["epochs"]
        saved = {"phase": "registering", "metrics": finite(history)}
        patiently(lambda: runs.heartbeat(self.held, **saved))
        output, names = self.folder / "output", [str(customer) for customer in self.data.customers]
        version = registry.install(pipeline=output / "pipeline", charts=output / "charts", private=names)
        registered = False
        try:
            registered = patiently(lambda: self._record(version))
        finally:
            if not registered:
                registry.uninstall(version)

    @transaction.atomic
    def _record(self, version: str) -> bool:
        if not runs.hold(self.held):
            # Either another worker has it, or an earlier try was committed and only its answer was lost.
            return TrainingRun.objects.filter(id=self.held.run_id, model_id=version).exists()
        model = registry.register(version=version)
        assert self.data is not None
        # Who was erased since the export looked, trained it all the same.
        speakers = TrainingSpeaker.objects.bulk_create(
            TrainingSpeaker(model=model, customer_id=pk) for pk in training_data.consenting(self.data.customers)
        )
        model.erased_speakers = len(self.data.customers) - len(speakers)
        model.save(update_fields=["erased_speakers"])
        runs.succeed(self.held, model)
        return True


def _processes(gpus: tuple[str, ...]) -> int:
    """One process a GPU, of those that the configuration names and that are there."""
    if len(gpus) < 2:
        return 1
    import torch

    return max(1, min(len(gpus), torch.cuda.device_count()))
