"""Services on training runs: the state machine of ``TrainingRun``, each step with its audit event.

A worker holds a run by a ``Claim``. Every write names the claim, so that a worker that was thought dead
and wakes up again finds out, and changes nothing.
"""

import logging
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from mltraining.models import ModelVersion
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.jobs.leases import (
    LOST_SECONDS,
    MOST_LOST_WORKERS,
    RESEND_SECONDS,
    Claim,
    Order,
    send_on_commit,
)
from voiceauth.retraining.errors import RunFinished, RunNotFound
from voiceauth.retraining.models import TrainingRun

logger = logging.getLogger(__name__)

State = TrainingRun.State


def create_run(*, config: dict[str, Any], actor: Actor) -> TrainingRun:
    """A new QUEUED run, and its message to the training queue once committed."""
    with transaction.atomic():
        run = TrainingRun.objects.create(config=config, requested_by=actor.name)
        record(action="training_run.queued", actor=actor, target=_target(run.id), after={"config": config})
        send(run.id)
    return run


def send(run_id: uuid.UUID) -> None:
    """Tell the training queue about a QUEUED run, after the commit. A lost message is sent again by ``recover``."""
    TrainingRun.objects.filter(id=run_id).update(sent_at=timezone.now())
    send_on_commit("retraining.run_training", str(run_id))


def claim(run_id: uuid.UUID) -> Claim | None:
    """QUEUED -> RUNNING. ``None`` where the run is not QUEUED (any more) or another run is RUNNING."""
    now = timezone.now()
    try:
        with transaction.atomic():
            first = TrainingRun.objects.filter(id=run_id, started_at=None).exists()
            if not TrainingRun.objects.filter(id=run_id, state=State.QUEUED).update(
                state=State.RUNNING,
                attempts=F("attempts") + 1,
                started_at=Coalesce("started_at", now),
                heartbeat_at=now,
            ):
                return None
            attempt = TrainingRun.objects.values_list("attempts", flat=True).get(id=run_id)
            action = "training_run.started" if first else "training_run.resumed"
            record(action=action, actor=SYSTEM, target=_target(run_id), data={"attempt": attempt})
    except IntegrityError:
        return None  # one_running_training: it waits for its turn
    return Claim(run_id, attempt)


def heartbeat(held: Claim, **progress: Any) -> Order:
    """Say that the worker lives, save ``progress`` (fields of the run), and hear what to do."""
    if not _held(held).update(heartbeat_at=timezone.now(), **progress):
        return Order.LET_GO
    return Order.CANCEL if _held(held).filter(cancel_requested=True).exists() else Order.GO_ON


def hold(held: Claim) -> bool:
    """Inside a transaction: lock the run; False where it is no longer this worker's."""
    return _held(held).select_for_update().exists()


def succeed(held: Claim, model: ModelVersion) -> None:
    """RUNNING -> SUCCEEDED with its candidate model. Call it in the transaction that holds the run."""
    changed = _end(
        _held(held),
        State.SUCCEEDED,
        {"model": model.version, "fingerprint": model.fingerprint},
        model=model,
        progress_percent=100,
    )
    if not changed:
        raise RuntimeError(f"training run {held.run_id} is not held")


def fail(held: Claim, *, code: str, message: str, bug: bool = False) -> None:
    """RUNNING -> FAILED, or ERRORED for a bug."""
    _end(
        _held(held),
        State.ERRORED if bug else State.FAILED,
        {"error_code": code},
        error_code=code,
        error_message=message[:500],
    )


def cancelled(held: Claim) -> None:
    """RUNNING -> CANCELLED: the worker stopped, as asked."""
    _end(_held(held), State.CANCELLED, {})


def give_back(held: Claim, *, reason: str) -> None:
    """RUNNING -> QUEUED: the worker shuts down, or the data changed under it. Another attempt resumes."""
    _requeue(_held(held), reason)


def lose(held: Claim, *, reason: str) -> None:
    """The training program was killed from outside: like a lost worker, it is tried again a few times."""
    _lose(TrainingRun.objects.get(id=held.run_id), _held(held), reason)


def request_cancel(*, run_id: uuid.UUID, actor: Actor) -> TrainingRun:
    """A QUEUED run is CANCELLED at once; a RUNNING one when its worker hears of it.

    Raises ``RunNotFound``, and ``RunFinished`` for a run that has ended otherwise.
    """
    with transaction.atomic():
        run = TrainingRun.objects.select_for_update().filter(id=run_id).first()
        if run is None:
            raise RunNotFound
        if run.state in TrainingRun.TERMINAL and run.state != State.CANCELLED:
            raise RunFinished(state=run.state)
        if run.state not in TrainingRun.TERMINAL and not run.cancel_requested:
            TrainingRun.objects.filter(id=run_id).update(cancel_requested=True)
            record(action="training_run.cancel_requested", actor=actor, target=_target(run_id))
        if run.state == State.QUEUED:
            _end(TrainingRun.objects.filter(id=run_id, state=State.QUEUED), State.CANCELLED, {}, actor=actor)
        run.refresh_from_db()
    return run


def recover() -> None:
    """The sweep: runs whose worker died are queued again, and the first in line is sent again."""
    silent = TrainingRun.objects.filter(state=State.RUNNING, heartbeat_at__lt=_ago(LOST_SECONDS))
    for run in silent:
        _lose(run, silent.filter(id=run.id, attempts=run.attempts), "worker_lost")
    if TrainingRun.objects.filter(state=State.RUNNING).exists():
        return
    waiting = TrainingRun.objects.filter(state=State.QUEUED).order_by("created_at").first()
    if waiting and (waiting.sent_at is None or waiting.sent_at < _ago(RESEND_SECONDS)):
        send(waiting.id)


def send_next() -> None:
    """One run has ended: the next in line need not wait for the sweep."""
    waiting = TrainingRun.objects.filter(state=State.QUEUED).order_by("created_at").first()
    if waiting:
        send(waiting.id)


def _lose(run: TrainingRun, rows: QuerySet[TrainingRun], reason: str) -> None:
    if run.cancel_requested:
        _end(rows, State.CANCELLED, {})
    elif run.lost_workers >= MOST_LOST_WORKERS:
        message = f"{run.lost_workers + 1} workers died while they carried out this run."
        _end(rows, State.FAILED, {"error_code": reason}, error_code=reason, error_message=message)
    else:
        _requeue(rows, reason, lost_workers=F("lost_workers") + 1)


def _requeue(rows: QuerySet[TrainingRun], reason: str, **fields: Any) -> None:
    with transaction.atomic():
        run_id = rows.values_list("id", flat=True).first()
        if run_id and rows.update(state=State.QUEUED, **fields):
            record(action="training_run.requeued", actor=SYSTEM, target=_target(run_id), data={"reason": reason})
            send(run_id)


def _held(held: Claim) -> QuerySet[TrainingRun]:
    return TrainingRun.objects.filter(id=held.run_id, state=State.RUNNING, attempts=held.attempt)


def _end(
    rows: QuerySet[TrainingRun], state: str, after: dict[str, Any], *, actor: Actor = SYSTEM, **fields: Any
) -> bool:
    """The one row of ``rows`` ends in ``state``, with the event in the same transaction."""
    with transaction.atomic():
        run_id = rows.values_list("id", flat=True).first()
        if run_id is None or not rows.update(state=state, finished_at=timezone.now(), **fields):
            return False
        action = "failed" if state in (State.FAILED, State.ERRORED) else state.lower()
        record(
            action=f"training_run.{action}",
            actor=actor,
            outcome="failed" if action == "failed" else "success",
            target=_target(run_id),
            model_version=after.get("model", ""),
            after={"state": state, **after},
        )
    return True


def _target(run_id: uuid.UUID) -> str:
    return f"training_run:{run_id}"


def _ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)
