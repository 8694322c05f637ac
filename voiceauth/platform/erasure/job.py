"""Carrying an erasure out, in the training worker: it may write wherever recordings and copies of them lie."""

from uuid import UUID

from voiceauth.platform import storage
from voiceauth.platform.erasure import copies, journal
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.jobs import runner
from voiceauth.platform.jobs.errors import JobFailed
from voiceauth.platform.jobs.runner import Attempt


def execute(erasure_id: UUID) -> bool:
    """Carry out one attempt at an erasure. False where it is not waiting for one."""
    return runner.run(Erasure, erasure_id, carry_out)


def carry_out(attempt: Attempt[Erasure]) -> None:
    """Note the erasure in the journal, then delete the recordings and every copy of them.

    Raises ``JobFailed`` where something is left, or the journal cannot be written.
    """
    try:
        journal.write(attempt.job)
    except Exception as error:  # each storage's library raises errors of its own
        why = f"The journal of erasures cannot be written: {type(error).__name__}."
        raise JobFailed("journal_unwritten", why) from error
    for name in attempt.job.recordings:
        attempt.check()
        try:
            storage.delete(name)
        except Exception as error:  # each storage's library raises errors of its own
            raise JobFailed("recordings_left", f"A recording could not be deleted: {type(error).__name__}.") from error
    attempt.check()
    try:
        copies.remove_all(attempt.job.subject)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise JobFailed("copies_left", f"A copy of the recordings could not be deleted: {why}.") from error
    attempt.save(recordings=[])
