import math
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from mltraining.figures import finite
from mltraining.models import ModelVersion
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.retraining import runs
from voiceauth.retraining.errors import RunFinished, RunNotFound
from voiceauth.retraining.models import TrainingRun

pytestmark = pytest.mark.django_db

State = TrainingRun.State
ADMIN = Actor(name="ops", role="admin")


def queued() -> TrainingRun:
    return runs.create_run(config={"training.epochs": 2}, actor=ADMIN)


def claimed(run: TrainingRun) -> runs.Claim:
    held = runs.claim(run.id)
    assert held is not None
    return held


def silence(run: TrainingRun) -> None:
    """The worker was last heard of long ago."""
    long_ago = timezone.now() - timedelta(seconds=2 * runs.LOST_SECONDS)
    TrainingRun.objects.filter(id=run.id).update(heartbeat_at=long_ago)


def state(run: TrainingRun) -> str:
    run.refresh_from_db()
    return run.state


def events(run: TrainingRun) -> list[str]:
    rows = AuditEvent.objects.filter(target=f"training_run:{run.id}").order_by("sequence")
    return [action.removeprefix("training_run.") for action in rows.values_list("action", flat=True)]


def a_model() -> ModelVersion:
    return ModelVersion.objects.create(
        version="v1", fingerprint="f1", threshold=0.5, calibration_version="c1", data_hash="d1"
    )


def test_a_run_goes_from_queued_over_running_to_succeeded_and_the_trail_tells_it() -> None:
    run = queued()
    held = claimed(run)
    assert state(run) == State.RUNNING
    runs.succeed(held, a_model())
    assert state(run) == State.SUCCEEDED
    assert (run.model_id, run.progress_percent) == ("v1", 100)
    assert run.finished_at is not None
    assert events(run) == ["queued", "started", "succeeded"]


def test_of_two_workers_one_gets_the_run() -> None:
    run = queued()
    assert runs.claim(run.id) is not None
    assert runs.claim(run.id) is None


def test_a_second_run_waits_while_one_is_running_and_is_next_when_it_ends() -> None:
    first, second = queued(), queued()
    held = claimed(first)
    assert runs.claim(second.id) is None
    assert state(second) == State.QUEUED
    runs.fail(held, code="too_few_speakers", message="…")
    assert runs.claim(second.id) is not None


def test_a_heartbeat_saves_progress_and_hears_of_a_cancellation() -> None:
    run = queued()
    held = claimed(run)
    assert runs.heartbeat(held, progress_percent=40.0, phase="training") is runs.Order.GO_ON
    runs.request_cancel(run_id=run.id, actor=ADMIN)
    assert runs.heartbeat(held) is runs.Order.CANCEL
    runs.cancelled(held)
    assert state(run) == State.CANCELLED
    assert run.progress_percent == 40.0
    assert events(run) == ["queued", "started", "cancel_requested", "cancelled"]


def test_a_queued_run_is_cancelled_at_once_and_a_repeat_changes_nothing() -> None:
    run = queued()
    assert runs.request_cancel(run_id=run.id, actor=ADMIN).state == State.CANCELLED
    assert runs.request_cancel(run_id=run.id, actor=ADMIN).state == State.CANCELLED
    assert runs.claim(run.id) is None
    assert events(run) == ["queued", "cancel_requested", "cancelled"]


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    run = queued()
    runs.fail(claimed(run), code="too_few_speakers", message="…")
    with pytest.raises(RunFinished):
        runs.request_cancel(run_id=run.id, actor=ADMIN)
    with pytest.raises(RunNotFound):
        runs.request_cancel(run_id=uuid.uuid4(), actor=ADMIN)


def test_a_run_whose_worker_died_is_queued_again_and_resumed() -> None:
    run = queued()
    claimed(run)
    silence(run)
    runs.recover()
    assert state(run) == State.QUEUED
    claimed(run)
    assert events(run) == ["queued", "started", "requeued", "resumed"]


def test_a_run_with_a_fresh_heartbeat_is_left_alone() -> None:
    run = queued()
    claimed(run)
    runs.recover()
    assert state(run) == State.RUNNING


def test_a_worker_that_was_thought_dead_changes_nothing_when_it_wakes_up() -> None:
    run = queued()
    asleep = claimed(run)
    silence(run)
    runs.recover()
    awake = claimed(run)
    assert runs.heartbeat(asleep, progress_percent=99.0) is runs.Order.LET_GO
    runs.fail(asleep, code="trainer_killed", message="…")
    runs.cancelled(asleep)
    runs.give_back(asleep, reason="worker_shutdown")
    assert not runs.hold(asleep)
    with pytest.raises(RuntimeError):
        runs.succeed(asleep, a_model())
    assert state(run) == State.RUNNING
    assert run.progress_percent == 0
    assert runs.heartbeat(awake) is runs.Order.GO_ON


def test_a_run_that_kills_its_workers_again_and_again_fails() -> None:
    run = queued()
    for _ in range(runs.MOST_LOST_WORKERS):
        claimed(run)
        silence(run)
        runs.recover()
        assert state(run) == State.QUEUED
    claimed(run)
    silence(run)
    runs.recover()
    assert state(run) == State.FAILED
    assert run.error_code == "worker_lost"
    assert AuditEvent.objects.get(action="training_run.failed").outcome == "failed"


def test_shutting_workers_down_never_fails_a_run() -> None:
    run = queued()
    for _ in range(runs.MOST_LOST_WORKERS + 2):
        runs.give_back(claimed(run), reason="worker_shutdown")
    assert state(run) == State.QUEUED


def test_a_cancelled_run_whose_worker_died_ends_in_cancelled() -> None:
    run = queued()
    claimed(run)
    runs.request_cancel(run_id=run.id, actor=ADMIN)
    silence(run)
    runs.recover()
    assert state(run) == State.CANCELLED


def test_a_bug_ends_in_errored_and_not_in_failed() -> None:
    run = queued()
    runs.fail(claimed(run), code="internal_error", message="KeyError", bug=True)
    assert state(run) == State.ERRORED


def test_a_lost_message_is_sent_again_for_the_first_in_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[uuid.UUID] = []
    monkeypatch.setattr(runs, "send", lambda run_id: sent.append(run_id))
    first, second = queued(), queued()
    sent.clear()
    runs.recover()
    assert sent == [first.id]
    TrainingRun.objects.update(sent_at=timezone.now())
    runs.recover()
    assert sent == [first.id]  # it was told just now
    TrainingRun.objects.update(sent_at=timezone.now() - timedelta(seconds=2 * runs.RESEND_SECONDS))
    runs.recover()
    assert sent == [first.id, first.id]
    claimed(first)
    runs.recover()
    assert sent == [first.id, first.id]
    assert state(second) == State.QUEUED


def test_metrics_that_are_not_finite_become_null() -> None:
    assert finite({"loss": math.nan, "curve": [1.0, math.inf], "epoch": 3}) == {
        "loss": None,
        "curve": [1.0, None],
        "epoch": 3,
    }
