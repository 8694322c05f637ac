"""The columns and the states that every job has."""

import uuid
from typing import Any, ClassVar, Self

from django.db import models


class Job(models.Model):
    """Long work that a worker carries out, and that another worker takes up where the first one dies.

    States::

        QUEUED  -> RUNNING    a worker has claimed it
        RUNNING -> QUEUED     its worker died (no heartbeat), shuts down, or gives it back; another attempt follows
        RUNNING -> SUCCEEDED
        RUNNING -> FAILED     an expected failure; ``error_code`` says which
        RUNNING -> ERRORED    a bug; the trace is in the worker's log
        QUEUED or RUNNING -> CANCELLED

    A worker holds a job by the number of its attempt: every write names it, so that a worker which was thought dead
    and wakes up again finds out, and changes nothing.
    """

    class State(models.TextChoices):
        """Where a job stands.

        * `QUEUED`, `RUNNING`: it has not ended.
        * `SUCCEEDED`: it has done its work.
        * `FAILED`: it ended for an expected reason, which `error_code` names.
        * `ERRORED`: a bug ended it; the log has the traceback.
        * `CANCELLED`: somebody cancelled it.
        """

        QUEUED = "QUEUED"
        RUNNING = "RUNNING"
        SUCCEEDED = "SUCCEEDED"
        FAILED = "FAILED"
        ERRORED = "ERRORED"
        CANCELLED = "CANCELLED"

    OPEN = (State.QUEUED, State.RUNNING)

    task_name: ClassVar[str]  # the Celery task that runs one of these
    audit_name: ClassVar[str]  # events in the audit trail are ``audit_name.queued``, ``audit_name.started``, …
    exclusive: ClassVar[bool] = False  # one is RUNNING at a time; its Meta also needs ``one_at_a_time``
    must_succeed: ClassVar[bool] = False  # failures are tried again until it succeeds
    lost_after_seconds: ClassVar[float] = 30.0  # without a heartbeat

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    requested_by = models.CharField(max_length=128)
    cancel_requested = models.BooleanField(default=False)
    attempts = models.PositiveIntegerField(default=0)  # how often it was claimed; the last claim holds it
    lost_workers = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)  # when the queue was last told
    heartbeat_at = models.DateTimeField(null=True)
    progress_percent = models.FloatField(default=0)
    phase = models.CharField(max_length=32, blank=True)  # what the worker is doing, for people
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} of {self.created_at:%d %b %Y, %H:%M:%S}"

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended yet."""
        return self.state in self.OPEN

    @classmethod
    def waiting(cls) -> models.QuerySet[Self]:
        """Return the QUEUED jobs that a worker may take, the first in line first."""
        return cls._default_manager.filter(state=cls.State.QUEUED).order_by("created_at")

    def on_end(self) -> None:
        """React to the end of the job, in the transaction that ends it. ``self`` is the row as it has ended."""

    def audit_action(self, event: str) -> str:
        """Return the name in the audit trail of ``queued``, ``started``, ``requeued``, ``succeeded``, …"""
        return f"{self.audit_name}.{event}"

    def audit_target(self) -> str:
        """Return what the job's events in the audit trail are about."""
        return f"{self.audit_name}:{self.id}"

    def audit_details(self, event: str) -> dict[str, Any]:
        """Return further arguments of ``record`` for an event of this job."""
        return {}


def one_at_a_time(name: str) -> models.UniqueConstraint:
    """Return the constraint that lets one job of a kind be RUNNING; for the ``Meta`` of an ``exclusive`` kind."""
    return models.UniqueConstraint(fields=["state"], condition=models.Q(state=Job.State.RUNNING), name=name)
