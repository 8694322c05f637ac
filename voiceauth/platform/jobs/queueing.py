"""Telling the queue about jobs. A message may be lost: ``services.recover`` sends it again."""

from datetime import datetime

from celery import current_app
from django.db import transaction
from django.utils import timezone

from voiceauth.platform.jobs.models import Job

RESEND_SECONDS = 30.0  # a job that is QUEUED for so long after it was sent is sent again


def send(job: Job) -> None:
    """Tell the queue about a waiting job, once the transaction has committed."""
    if not type(job).waiting().filter(pk=job.pk).update(sent_at=timezone.now()):
        return

    def publish() -> None:
        # It expires when it would be sent again, so that messages do not pile up while every worker is busy.
        current_app.send_task(job.task_name, args=[str(job.pk)], expires=RESEND_SECONDS, retry=False)

    transaction.on_commit(publish, robust=True)  # a queue that is down must not undo what was committed


def send_waiting(kind: type[Job], *, sent_before: datetime | None = None) -> None:
    """Send the jobs that wait; of an exclusive kind the first in line, and that only while none is running.

    Jobs that were sent at ``sent_before`` or later are left alone.
    """
    waiting = kind.waiting()
    if kind.exclusive:
        if kind._default_manager.filter(state=Job.State.RUNNING).exists():
            return
        waiting = waiting[:1]
    for job in waiting:
        if sent_before is None or job.sent_at is None or job.sent_at < sent_before:
            send(job)
