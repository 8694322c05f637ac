"""What callers do with jobs: start one, cancel one; and the sweep that takes up what was lost."""

import logging
from datetime import timedelta
from typing import Any, TypeVar

from django.apps import apps
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from voiceauth.platform.audit import Actor
from voiceauth.platform.jobs import queueing, transitions
from voiceauth.platform.jobs.errors import JobFinished
from voiceauth.platform.jobs.models import Job

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)


@transaction.atomic
def enqueue(job: J, *, actor: Actor, **details: Any) -> J:
    """Save a new job, which is QUEUED, and send it. ``details`` (``before``, ``after``, …) go to the audit trail."""
    job.requested_by = actor.name
    job.save()
    queueing.send(job)
    transitions.audit(job, "queued", actor, **details)
    return job


@transaction.atomic
def request_cancel(job: J, *, actor: Actor) -> J:
    """Cancel a job: a QUEUED one ends at once, a RUNNING one when its worker hears of it.

    A repeated request changes nothing. Raises ``JobFinished``.
    """
    rows = type(job)._default_manager.filter(pk=job.pk)
    job = rows.select_for_update().get()
    if job.state != Job.State.CANCELLED and not job.is_open:
        raise JobFinished(state=job.state)
    if job.is_open and not job.cancel_requested:
        rows.update(cancel_requested=True)
        transitions.audit(job, "cancel_requested", actor)
        if job.state == Job.State.QUEUED:
            transitions.end(job, Job.State.CANCELLED, actor=actor)
    return rows.get()


def recover() -> None:
    """Take up the jobs of every kind whose worker died or whose message was lost. Runs periodically."""
    for kind in apps.get_models():
        if issubclass(kind, Job):
            try:
                recover_kind(kind)
            except Exception:  # must not keep the other kinds from being recovered
                logger.exception("jobs of kind %s cannot be recovered", kind.audit_name)


def recover_kind(kind: type[Job]) -> None:
    """Queue the jobs of lost workers again, and send what waits for longer than it should."""
    silent = kind._default_manager.filter(
        state=Job.State.RUNNING, heartbeat_at__lt=Now() - timedelta(seconds=kind.lost_after_seconds)
    )
    for pk in silent.values_list("pk", flat=True):
        with transaction.atomic():
            job = silent.select_for_update().filter(pk=pk).first()
            if job is not None:  # else its worker was only slow
                logger.warning("%s %s lost its worker", kind.audit_name, pk)
                transitions.lose(job)
    queueing.send_waiting(kind, sent_before=timezone.now() - timedelta(seconds=queueing.RESEND_SECONDS))
