"""The state machine of a job: each step a conditional update, with its audit event in the same transaction.

A ``job`` given here is the row as the caller last saw it. A step changes it only where it is still in that state and
at that attempt, so of two workers, or a worker and the sweep, one succeeds.
"""

import uuid
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.jobs import queueing
from voiceauth.platform.jobs.errors import CancelRequested, LeaseLost
from voiceauth.platform.jobs.models import Job

MOST_LOST_WORKERS = 5  # that a job survives

State = Job.State
J = TypeVar("J", bound=Job)


def claim(kind: type[J], job_id: uuid.UUID) -> J | None:
    """QUEUED -> RUNNING. Return the job as it is now held.

    ``None`` where it is not QUEUED (any more), or where another of an exclusive kind is RUNNING.
    """
    try:
        with transaction.atomic():
            changed = kind._default_manager.filter(pk=job_id, state=State.QUEUED).update(
                state=State.RUNNING,
                attempts=F("attempts") + 1,
                started_at=Coalesce("started_at", Now()),
                heartbeat_at=Now(),  # by the database's clock: the sweep may run on another machine
            )
            if not changed:
                return None
            job = kind._default_manager.get(pk=job_id)
            if job.attempts == 1:
                audit(job, "started")
    except IntegrityError:  # one_at_a_time
        return None
    return job


def heartbeat(job: Job, **fields: Any) -> None:
    """Say that the worker lives, and save ``fields``. Raises ``LeaseLost`` and ``CancelRequested``."""
    rows = _as_seen(job)
    if not rows.update(heartbeat_at=Now(), **fields):
        raise LeaseLost
    if rows.filter(cancel_requested=True).exists():
        raise CancelRequested


def hold(job: Job) -> bool:
    """Lock a held job until the transaction ends.

    False where this attempt has succeeded already: it was committed, and only the answer was lost. Raises
    ``LeaseLost``.
    """
    if _as_seen(job).select_for_update().exists():
        return True
    if type(job)._default_manager.filter(pk=job.pk, attempts=job.attempts, state=State.SUCCEEDED).exists():
        return False
    raise LeaseLost


@transaction.atomic
def end(
    job: Job, state: str, *, actor: Actor = SYSTEM, error_code: str = "", error_message: str = "", **fields: Any
) -> bool:
    """End the job in ``state``, save ``fields``, and send the next in line. False where it is not as it was seen."""
    changed = _as_seen(job).update(
        state=state, finished_at=timezone.now(), error_code=error_code, error_message=error_message[:500], **fields
    )
    if not changed:
        return False
    ended = type(job)._default_manager.get(pk=job.pk)
    ended.on_end()
    if job.exclusive:
        queueing.send_waiting(type(job))
    audit(ended, "failed" if state in (State.FAILED, State.ERRORED) else state.lower(), actor)
    return True


@transaction.atomic
def requeue(job: Job, *, reason: str, audited: bool = True, later: bool = False, **fields: Any) -> bool:
    """RUNNING -> QUEUED, for another attempt: at once, or ``later``, when the sweep sends it."""
    changed = _as_seen(job).update(state=State.QUEUED, sent_at=timezone.now(), **fields)
    if not changed:
        return False
    if not later:
        queueing.send_waiting(type(job)) if job.exclusive else queueing.send(job)
    if audited:
        audit(job, "requeued", data={"reason": reason, "attempt": job.attempts})
    return True


def lose(job: Job, *, reason: str = "worker_lost") -> None:
    """Queue a job again whose worker died; end it as FAILED once it has lost ``MOST_LOST_WORKERS`` and one more."""
    if job.cancel_requested:
        end(job, State.CANCELLED)
    elif job.lost_workers >= MOST_LOST_WORKERS and not job.must_succeed:
        message = f"{job.lost_workers + 1} workers died while they carried out this job."
        end(job, State.FAILED, error_code=reason, error_message=message)
    else:
        requeue(job, reason=reason, lost_workers=job.lost_workers + 1)


def audit(job: Job, event: str, actor: Actor = SYSTEM, **details: Any) -> None:
    """Record an event of the job. ``details`` come before what the job itself adds."""
    after = {"state": job.state} | ({"error_code": job.error_code} if job.error_code else {})
    ended = {} if job.is_open else {"after": after}
    record(
        action=job.audit_action(event),
        actor=actor,
        outcome="failed" if event == "failed" else "success",
        target=job.audit_target(),
        **(ended | job.audit_details(event) | details),
    )


def _as_seen(job: J) -> QuerySet[J]:
    return type(job)._default_manager.filter(pk=job.pk, state=job.state, attempts=job.attempts)
