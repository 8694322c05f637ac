"""The job engine, with two small kinds of job whose tables exist for one test only."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import OperationalError, connection, models, transaction
from django.test.utils import isolate_apps
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import Conflict
from voiceauth.platform.jobs import patience, queueing, runner, services, shutdown, transitions
from voiceauth.platform.jobs.errors import CancelRequested, GiveBack, JobFailed, JobFinished, LeaseLost
from voiceauth.platform.jobs.models import Job, one_at_a_time
from voiceauth.platform.jobs.runner import Attempt

pytestmark = pytest.mark.django_db

State = Job.State
ADMIN = Actor(name="ops", role="admin")

with isolate_apps("voiceauth.platform.jobs"):  # no other test meets these models

    class Counting(Job):
        """One at a time."""

        task_name = "tests.count"
        audit_name = "counting"
        exclusive = True
        counted = models.PositiveIntegerField(default=0)
        ended_as: ClassVar[list[str]] = []

        class Meta(Job.Meta):
            app_label = "jobs"
            constraints = [one_at_a_time("one_counting")]

        def on_end(self) -> None:
            self.ended_as.append(self.state)

    class Wiping(Job):
        """Many at a time, each until it succeeds."""

        task_name = "tests.wipe"
        audit_name = "wiping"
        must_succeed = True

        class Meta(Job.Meta):
            app_label = "jobs"


@pytest.fixture(autouse=True)
def _tables(db: None) -> None:
    Counting.ended_as.clear()
    with connection.schema_editor() as editor:
        editor.create_model(Counting)
        editor.create_model(Wiping)


@pytest.fixture
def sent(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> list[tuple[str, str]]:
    """The messages to the queue: task and job."""
    messages: list[tuple[str, str]] = []

    def send_task(name: str, args: list[str], **_: Any) -> None:
        messages.append((name, args[0]))

    monkeypatch.setattr(queueing.current_app, "send_task", send_task)
    monkeypatch.setattr(transaction, "on_commit", lambda publish, robust: publish())
    return messages


def counting() -> Counting:
    return services.enqueue(Counting(), actor=ADMIN)


def claimed(job: Job) -> Job:
    held = transitions.claim(type(job), job.pk)
    assert held is not None
    return held


def silence(job: Job) -> None:
    """The worker was last heard of long ago."""
    long_ago = timezone.now() - timedelta(seconds=2 * job.lost_after_seconds)
    type(job)._default_manager.filter(pk=job.pk).update(heartbeat_at=long_ago)


def state(job: Job) -> str:
    job.refresh_from_db()
    return job.state


def events(job: Job) -> list[str]:
    rows = AuditEvent.objects.filter(target=job.audit_target()).order_by("sequence")
    return [action.removeprefix(f"{job.audit_name}.") for action in rows.values_list("action", flat=True)]


def run(job: Job, work: Callable[[Attempt[Any]], None] = lambda attempt: None) -> str:
    assert runner.run(type(job), job.pk, work)
    return state(job)


def fails_with(error: BaseException) -> Callable[[Attempt[Any]], None]:
    def work(attempt: Attempt[Any]) -> None:
        raise error

    return work


def test_work_that_returns_ends_the_job_as_succeeded_and_the_trail_tells_each_step() -> None:
    job = counting()
    assert run(job, lambda attempt: attempt.save(counted=3)) == State.SUCCEEDED
    assert (job.counted, job.progress_percent, job.attempts, Counting.ended_as) == (3, 100, 1, ["SUCCEEDED"])
    assert job.started_at and job.finished_at
    assert events(job) == ["queued", "started", "succeeded"]
    assert not runner.run(Counting, job.pk, fails_with(AssertionError()))  # the same message again


def test_progress_that_was_not_saved_yet_is_saved_with_the_success() -> None:
    job = counting()
    assert run(job, lambda attempt: attempt.check(counted=3)) == State.SUCCEEDED
    assert job.counted == 3


@pytest.mark.parametrize(
    ("error", "ends_as", "code", "message"),
    [
        (JobFailed("too_few", "Two are needed."), State.FAILED, "too_few", "Two are needed."),
        (Conflict("It is taken."), State.FAILED, "conflict", "It is taken."),
        (KeyError("a name that must not be told"), State.ERRORED, "internal_error", "KeyError"),
    ],
)
def test_an_expected_failure_and_a_bug_are_told_apart(error: Exception, ends_as: str, code: str, message: str) -> None:
    job = counting()
    assert run(job, fails_with(error)) == ends_as
    assert (job.error_code, job.error_message) == (code, message)
    event = AuditEvent.objects.get(action="counting.failed")
    assert (event.outcome, event.after) == ("failed", {"state": ends_as, "error_code": code})


def test_of_two_workers_one_gets_the_job() -> None:
    job = counting()
    claimed(job)
    assert transitions.claim(Counting, job.pk) is None
    assert transitions.claim(Counting, uuid.uuid4()) is None


def test_an_exclusive_job_waits_while_another_runs_and_is_sent_when_that_ends(sent: list[tuple[str, str]]) -> None:
    first, second = counting(), counting()
    held = claimed(first)
    assert not runner.run(Counting, second.pk, fails_with(AssertionError()))
    assert state(second) == State.QUEUED
    sent.clear()
    transitions.end(held, State.FAILED, error_code="too_few")
    assert sent == [("tests.count", str(second.pk))]
    assert run(second) == State.SUCCEEDED


def test_jobs_of_a_kind_that_is_not_exclusive_run_side_by_side() -> None:
    one, two = (services.enqueue(Wiping(), actor=SYSTEM) for _ in range(2))
    claimed(one)
    assert run(two) == State.SUCCEEDED


def test_a_heartbeat_saves_progress_and_hears_of_a_cancellation() -> None:
    job = counting()

    def work(attempt: Attempt[Counting]) -> None:
        attempt.save(progress_percent=40.0, phase="counting")
        services.request_cancel(job, actor=ADMIN)
        with pytest.raises(CancelRequested):
            attempt.save()
        attempt.save()

    assert run(job, work) == State.CANCELLED
    assert (job.progress_percent, job.phase) == (40.0, "counting")
    assert events(job) == ["queued", "started", "cancel_requested", "cancelled"]


def test_a_queued_job_is_cancelled_at_once_and_a_repeat_changes_nothing() -> None:
    job = counting()
    assert services.request_cancel(job, actor=ADMIN).state == State.CANCELLED
    assert services.request_cancel(job, actor=ADMIN).state == State.CANCELLED
    assert transitions.claim(Counting, job.pk) is None
    assert events(job) == ["queued", "cancel_requested", "cancelled"]


def test_a_job_that_has_ended_cannot_be_cancelled() -> None:
    job = counting()
    run(job)
    with pytest.raises(JobFinished):
        services.request_cancel(job, actor=ADMIN)


def test_a_job_whose_worker_died_is_queued_and_sent_again(sent: list[tuple[str, str]]) -> None:
    job = counting()
    claimed(job)
    services.recover_kind(Counting)
    assert state(job) == State.RUNNING  # its heart still beats
    silence(job)
    sent.clear()
    services.recover_kind(Counting)
    assert (state(job), job.lost_workers, sent) == (State.QUEUED, 1, [("tests.count", str(job.pk))])
    assert run(job) == State.SUCCEEDED
    assert events(job) == ["queued", "started", "requeued", "succeeded"]


def test_a_worker_that_was_thought_dead_changes_nothing_when_it_wakes_up() -> None:
    job = counting()
    asleep = claimed(job)
    silence(job)
    services.recover_kind(Counting)
    awake = claimed(job)
    with pytest.raises(LeaseLost):
        transitions.heartbeat(asleep, progress_percent=99.0)
    with transaction.atomic(), pytest.raises(LeaseLost):
        transitions.hold(asleep)
    assert not transitions.end(asleep, State.FAILED, error_code="too_few")
    assert not transitions.requeue(asleep, reason="worker_shutdown")
    transitions.lose(asleep)
    assert (state(job), job.progress_percent) == (State.RUNNING, 0)
    transitions.heartbeat(awake)


def test_the_runner_leaves_a_job_alone_that_went_to_another_worker() -> None:
    job = counting()

    def work(attempt: Attempt[Counting]) -> None:
        silence(job)
        services.recover_kind(Counting)
        assert run(job, lambda awake: awake.save(counted=7)) == State.SUCCEEDED
        attempt.check(counted=1)

    assert run(job, work) == State.SUCCEEDED
    assert (job.counted, job.attempts) == (7, 2)


def test_a_success_whose_commit_went_unanswered_is_not_settled_twice() -> None:
    job, tries = counting(), []

    def work(attempt: Attempt[Counting]) -> None:
        for number in (5, 6):
            with transaction.atomic():
                tries.append(attempt.hold())
                attempt.succeed(counted=number)

    assert run(job, work) == State.SUCCEEDED
    assert tries == [True, False]  # the second try of the same transaction has nothing left to do
    assert job.counted == 5
    assert events(job) == ["queued", "started", "succeeded"]


def test_a_job_that_kills_its_workers_again_and_again_fails() -> None:
    job = counting()
    for _ in range(transitions.MOST_LOST_WORKERS):
        claimed(job)
        silence(job)
        services.recover_kind(Counting)
        assert state(job) == State.QUEUED
    claimed(job)
    silence(job)
    services.recover_kind(Counting)
    assert (state(job), job.error_code) == (State.FAILED, "worker_lost")


def test_a_lost_worker_of_a_cancelled_job_ends_it_as_cancelled() -> None:
    job = counting()
    claimed(job)
    services.request_cancel(job, actor=ADMIN)
    silence(job)
    services.recover_kind(Counting)
    assert state(job) == State.CANCELLED


def test_shutting_workers_down_never_fails_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    job = counting()
    monkeypatch.setattr(shutdown, "in_progress", lambda: True)
    for _ in range(transitions.MOST_LOST_WORKERS + 2):
        assert run(job, lambda attempt: attempt.check()) == State.QUEUED
    assert job.lost_workers == 0


def test_an_interrupted_worker_gives_its_job_back() -> None:
    job = counting()
    with pytest.raises(KeyboardInterrupt):
        run(job, fails_with(KeyboardInterrupt()))
    assert state(job) == State.QUEUED


def test_a_routine_hand_over_is_not_in_the_trail() -> None:
    job = counting()
    run(job, fails_with(GiveBack("turn_over", audited=False)))
    assert run(job) == State.SUCCEEDED
    assert events(job) == ["queued", "started", "succeeded"]


@pytest.mark.parametrize("error", [OSError("disk"), JobFailed("files_left", "Two files are left.")])
def test_a_job_that_must_succeed_is_tried_until_it_does_and_shows_why_it_has_not(
    sent: list[tuple[str, str]], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    job = services.enqueue(Wiping(), actor=SYSTEM)
    sent.clear()
    for _ in range(3):
        assert run(job, fails_with(error)) == State.QUEUED
    assert job.error_code in ("internal_error", "files_left")
    again = [each.getMessage() for each in caplog.records if "tried again" in each.getMessage()]
    assert [each.rpartition(": ")[2] for each in again] == [job.error_code] * 3  # no message, which may name somebody
    assert sent == []  # not at once
    Wiping._default_manager.update(sent_at=timezone.now() - timedelta(seconds=2 * queueing.RESEND_SECONDS))
    services.recover_kind(Wiping)
    assert sent == [("tests.wipe", str(job.pk))]
    assert (run(job), job.error_code, job.error_message) == (State.SUCCEEDED, "", "")
    assert events(job) == ["queued", "started", "requeued", "succeeded"]  # one failure, one event


def test_a_lost_message_is_sent_again_for_the_first_in_line_only(sent: list[tuple[str, str]]) -> None:
    first, second = counting(), counting()
    sent.clear()
    services.recover_kind(Counting)
    assert sent == []  # it was told just now
    Counting._default_manager.update(sent_at=timezone.now() - timedelta(seconds=2 * queueing.RESEND_SECONDS))
    services.recover_kind(Counting)
    assert sent == [("tests.count", str(first.pk))]
    Counting._default_manager.update(sent_at=None)
    claimed(first)
    services.recover_kind(Counting)
    assert len(sent) == 1
    assert state(second) == State.QUEUED


def test_a_queue_that_is_down_does_not_undo_a_request(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(queueing.current_app, "send_task", unreachable)
    with django_capture_on_commit_callbacks(execute=True):
        job = counting()
    assert state(job) == State.QUEUED


def test_a_heartbeat_during_a_restart_of_the_database_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = Attempt(claimed(counting()))
    answers: list[type[Exception] | None] = [OperationalError, None]
    heartbeat = transitions.heartbeat

    def flaky(job: Job, **fields: Any) -> None:
        if error := answers.pop(0):
            raise error
        heartbeat(job, **fields)

    monkeypatch.setattr(transitions, "heartbeat", flaky)
    monkeypatch.setattr(runner, "SAVE_SECONDS", -1)
    monkeypatch.setattr(connection, "close", lambda: None)
    attempt.check(counted=4)
    attempt.check()
    assert Counting._default_manager.get().counted == 4


def test_patience_outlasts_a_restart_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(patience.time, "sleep", sleep)
    monkeypatch.setattr(patience.time, "monotonic", lambda: now)

    class Connection:
        in_atomic_block = False

        def close(self) -> None:
            pass

    monkeypatch.setattr(patience, "connection", Connection())
    answers: list[type[Exception] | None] = [OperationalError, OperationalError, None]

    def work(left: list[type[Exception] | None], *, result: str) -> str:
        if left and (error := left.pop(0)):
            raise error
        return result

    assert patience.patiently(work, answers, result="done") == "done"
    with pytest.raises(OperationalError):
        patience.patiently(work, [OperationalError] * 1000, result="done")
    assert patience.PATIENCE_SECONDS - patience.LONGEST_PAUSE_SECONDS <= now <= patience.PATIENCE_SECONDS + 1
