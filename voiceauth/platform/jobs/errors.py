"""How a job fails, and why an attempt at one stops early."""

from voiceauth.platform.errors import Conflict


class JobFinished(Conflict):
    """Raised on cancelling a job that has ended. Carries its ``state``."""

    code = "job_finished"
    message = "The job has ended and cannot be cancelled any more."


class JobFailed(Exception):
    """An expected failure: the job ends as FAILED, with ``code`` and the message kept on it.

    A ``DomainError`` does the same. Any other exception is a bug, and ends the job as ERRORED.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class AttemptStopped(Exception):
    """The attempt must end before the work is done. The work lets it pass; the runner settles the job."""


class CancelRequested(AttemptStopped):
    """Somebody has cancelled the job."""


class LeaseLost(AttemptStopped):
    """The job is no longer this worker's: it was thought dead, and another has taken the job up."""


class GiveBack(AttemptStopped):
    """The job goes back to QUEUED, for another attempt.

    ``lost`` counts the attempt as a lost worker, of which a job survives only a few in a row. ``audited=False`` keeps
    a routine hand-over, like the end of a slice, out of the audit trail.
    """

    def __init__(self, reason: str, *, lost: bool = False, audited: bool = True) -> None:
        self.reason, self.lost, self.audited = reason, lost, audited
        super().__init__(reason)
