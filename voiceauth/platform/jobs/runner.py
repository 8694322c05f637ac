"""Carrying a job out in a worker: claim it, keep it, and settle it however the work ends."""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

from voiceauth.platform.errors import DomainError
from voiceauth.platform.jobs import shutdown, transitions
from voiceauth.platform.jobs.errors import CancelRequested, GiveBack, JobFailed, LeaseLost
from voiceauth.platform.jobs.models import Job
from voiceauth.platform.jobs.patience import patiently

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
SAVE_SECONDS = 1.0  # between two heartbeats while there is progress to save

State = Job.State
J = TypeVar("J", bound=Job)


class Attempt(Generic[J]):
    """One worker's attempt at a job. The work calls ``check`` again and again, at least every few seconds."""

    def __init__(self, job: J) -> None:
        self.job = job  # as it was when it was claimed
        self._unsaved: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    def check(self, **progress: Any) -> None:
        """Keep the job ours; ``progress``, fields of the job, is saved now or a little later.

        The database may be away for a while. Raises ``AttemptStopped`` where the attempt must end.
        """
        self._unsaved |= progress
        if shutdown.in_progress():
            raise GiveBack("worker_shutdown")
        if time.monotonic() - self._saved_at < (SAVE_SECONDS if self._unsaved else HEARTBEAT_SECONDS):
            return
        try:
            self.save()
        except (OperationalError, InterfaceError):
            self._saved_at = time.monotonic()
            connection.close()

    def save(self, **progress: Any) -> None:
        """Save ``progress`` at once. Raises ``CancelRequested`` and ``LeaseLost``."""
        transitions.heartbeat(self.job, **(self._unsaved | progress))
        self._unsaved, self._saved_at = {}, time.monotonic()

    def hold(self) -> bool:
        """Lock the job until the transaction ends. Raises ``LeaseLost``.

        False where an earlier try of the same transaction was committed and only its answer was lost.
        """
        return transitions.hold(self.job)

    @transaction.atomic
    def succeed(self, **fields: Any) -> None:
        """RUNNING -> SUCCEEDED. For work whose result and success must be one transaction; else the runner does it.

        Raises ``LeaseLost``.
        """
        if self.hold():
            transitions.end(self.job, State.SUCCEEDED, **(self._unsaved | {"progress_percent": 100} | fields))


def run(kind: type[J], job_id: uuid.UUID, work: Callable[[Attempt[J]], None]) -> bool:
    """Carry out one attempt at a job. False where it cannot be claimed: it is not QUEUED, or must wait its turn."""
    job = patiently(transitions.claim, kind, job_id)
    if job is None:
        return False
    attempt = Attempt(job)
    try:
        work(attempt)
        patiently(attempt.succeed)
    except LeaseLost:
        logger.warning("%s %s went to another worker", kind.audit_name, job_id)
    except CancelRequested:
        patiently(transitions.end, job, State.CANCELLED)
    except GiveBack as stop:
        _give_back(job, stop)
    except (JobFailed, DomainError) as failure:
        _fail(job, State.FAILED, failure.code, str(failure))
    except (OperationalError, InterfaceError):
        raise  # the database is away for longer than we wait; the sweep takes the job up
    except Exception as error:
        logger.exception("%s %s broke", kind.audit_name, job_id)
        _fail(job, State.ERRORED, "internal_error", type(error).__name__)
    except BaseException:  # Ctrl-C, or the pool process is told to exit
        _give_back(job, GiveBack("interrupted"))
        raise
    return True


def _give_back(job: Job, stop: GiveBack) -> None:
    if stop.lost:
        patiently(transitions.lose, job, reason=stop.reason)
    else:
        patiently(transitions.requeue, job, reason=stop.reason, audited=stop.audited)


def _fail(job: Job, state: str, code: str, message: str) -> None:
    if not job.must_succeed:
        patiently(transitions.end, job, state, error_code=code, error_message=message)
        return
    # Not the message, which may name a customer: whoever may see the job reads it there.
    logger.error("%s %s failed and is tried again: %s", job.audit_name, job.pk, code)
    news = code != job.error_code  # the same failure again and again is one event
    why = {"error_code": code, "error_message": message[:500]}
    patiently(transitions.requeue, job, reason=code, audited=news, later=True, **why)
