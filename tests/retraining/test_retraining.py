import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from enrollment import voiceprints
from enrollment.models import Customer
from enrollment.services import erase_customer
from mltraining import registry
from mltraining.models import ModelVersion
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.support.customers import enrolled, run_erasures
from tests.support.model import run_folder
from tests.support.waiting import until
from tests.support.workers import running_worker
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.jobs import queueing
from voiceauth.platform.jobs import services as jobs
from voiceauth.platform.jobs.errors import JobFailed
from voiceauth.retraining import services, training, training_data, training_process
from voiceauth.retraining.errors import InvalidSetting, NotEnoughEvidence
from voiceauth.retraining.models import TrainingRun
from voiceauth.retraining.serializers import ModelVersionSerializer

pytestmark = pytest.mark.usefixtures("small_recogniser")

State = TrainingRun.State
ADMIN = Actor(name="ops", role="admin")


def request(**config: Any) -> TrainingRun:
    return services.request_training(
        config={key.replace("__", "."): value for key, value in config.items()}, actor=ADMIN
    )


def executed(run: TrainingRun) -> TrainingRun:
    training.execute(run.id)
    run.refresh_from_db()
    return run


def actions(run: TrainingRun) -> list[str]:
    rows = AuditEvent.objects.filter(target=f"training_run:{run.id}").order_by("sequence")
    return [action.removeprefix("training_run.") for action in rows.values_list("action", flat=True)]


def voices_left(folder: Path) -> list[str]:
    """The folders in which a run keeps voices, also while they are being deleted."""
    return [at for at, _, _ in os.walk(folder) if Path(at) != folder]


@pytest.mark.django_db
def test_a_retrain_registers_a_candidate_that_holds_no_customer(tmp_path: Path, settings: Settings) -> None:
    customers = [enrolled(number, clips=3) for number in (1, 2, 3)]
    run = request(training__loss_function="CosineBCE")
    resolved = run.resolved_config
    settings.VOICEAUTH_TRAINING_OVERRIDES = [*settings.VOICEAUTH_TRAINING_OVERRIDES, "training.epochs=1"]
    run = executed(run)  # with the configuration that its request resolved
    assert run.state == State.SUCCEEDED, run.error_message
    assert (run.speakers, run.clips, run.epochs, run.progress_percent) == (3, 9, 2, 100)
    assert [row["epoch"] for row in run.metrics] == [1, 2]
    assert run.resolved_config == resolved
    assert resolved["training"]["epochs"] == 2
    assert actions(run) == ["queued", "started", "succeeded"]

    model = run.model
    assert model is not None
    assert model.state == ModelVersion.State.CANDIDATE
    assert model.config["training"] == resolved["training"]
    pipeline = ScoringPipeline.load(registry.folder_of(model.version))
    assert pipeline.fingerprint == model.fingerprint
    assert pipeline.class_rows is None
    kept = b"".join(path.read_bytes() for path in registry.folder_of(model.version).rglob("*") if path.is_file())
    for customer in customers:
        assert str(customer.pk).encode() not in kept
        assert customer.customer_id.encode() not in kept
    assert {path.name for path in registry.charts_of(model.version)} == set(registry.CHARTS)
    assert voices_left(run_folder(tmp_path, run.id)) == []

    # Three customers prove nothing: no figure of 0 or 1, and no promotion without a second person.
    shown = ModelVersionSerializer(model).data
    assert {name: shown["metrics"][name]["value"] for name in ("roc_auc", "eer", "rank_one")} == {
        "roc_auc": None, "eer": None, "rank_one": None,
    }  # fmt: skip
    assert (shown["metrics"]["eer"]["target_trials"], shown["metrics"]["eer"]["impostor_trials"]) == (3, 6)
    assert (shown["evidence"]["strangers"], shown["evidence"]["target_trials"]) == (False, 3)
    with pytest.raises(NotEnoughEvidence):
        services.request_promotion(version=model.version, actor=ADMIN)


@pytest.mark.django_db
def test_a_retrain_of_one_speaker_fails_with_its_code(tmp_path: Path) -> None:
    enrolled(1)
    run = executed(request())
    assert (run.state, run.error_code) == (State.FAILED, "too_few_speakers")
    assert actions(run) == ["queued", "started", "failed"]
    assert voices_left(run_folder(tmp_path, run.id)) == []


@pytest.mark.django_db
def test_a_retrain_with_nothing_to_hold_out_fails_with_its_code() -> None:
    enrolled(1, clips=1), enrolled(2, clips=1)
    run = executed(request())
    assert (run.state, run.error_code) == (State.FAILED, "too_few_clips")


@pytest.mark.django_db
def test_what_the_training_program_refuses_becomes_the_runs_error(tmp_path: Path) -> None:
    enrolled(1), enrolled(2)
    run = executed(request(architecture__backbone="resnet_of_nobody"))
    assert (run.state, run.error_code) == (State.FAILED, "invalid_configuration")
    assert "resnet_of_nobody" in run.error_message
    assert voices_left(run_folder(tmp_path, run.id)) == []


@pytest.mark.django_db
def test_a_setting_that_cannot_be_is_refused_before_anything_is_queued() -> None:
    with pytest.raises(InvalidSetting):
        request(training__epochs=0)
    assert not TrainingRun.objects.exists()


@pytest.mark.django_db
def test_a_bug_ends_the_run_as_errored_and_leaves_no_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enrolled(1), enrolled(2)
    monkeypatch.setattr(training_data, "_write_manifest", lambda folder, rows: 1 / 0)
    run = executed(request())
    assert (run.state, run.error_code, run.error_message) == (State.ERRORED, "internal_error", "ZeroDivisionError")
    assert voices_left(run_folder(tmp_path, run.id)) == []


@pytest.mark.django_db
def test_recordings_erased_under_a_run_send_it_back_to_start_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    customers = [enrolled(number, clips=3) for number in (1, 2, 3)]
    run = request(training__epochs=1)
    export, exports = training_data.export_manifest, list[training_data.TrainingData]()

    def erase_after_export(*args: Any, **kwargs: Any) -> training_data.TrainingData:
        exported = export(*args, **kwargs)
        exports.append(exported)
        if Customer.objects.get(pk=customers[0].pk).state != Customer.State.ERASED:
            erase_customer(customer_id=customers[0].customer_id, actor=SYSTEM)
            run_erasures()
        return exported

    def must_stop_at_once(*, check: Callable[[], None], **_: Any) -> None:
        check()
        pytest.fail("The program trains on a voice that was erased.")

    def may_go_on(*, check: Callable[[], None], **_: Any) -> None:
        check()
        raise JobFailed("enough", "The program would train now.")

    monkeypatch.setattr(training_data, "export_manifest", erase_after_export)
    monkeypatch.setattr(training_process, "train", must_stop_at_once)
    assert executed(run).state == State.QUEUED
    monkeypatch.setattr(training_process, "train", may_go_on)
    run_erasures()
    assert Erasure.objects.get().state == State.SUCCEEDED  # although the run goes on
    assert executed(run).error_code == "enough"
    assert [len(each.customers) for each in exports] == [3, 2]
    assert actions(run) == ["queued", "started", "requeued", "failed"]


@pytest.mark.django_db
def test_the_schedule_starts_a_run_only_where_two_are_enrolled_and_none_is_under_way() -> None:
    assert services.request_scheduled_training() is None
    enrolled(1, clips=1), enrolled(2, clips=1)
    run = services.request_scheduled_training()
    assert run is not None
    assert run.requested_by == SYSTEM.name
    assert services.request_scheduled_training() is None


def trained_epochs(run: TrainingRun, number: int) -> bool:
    """True once so many epochs are trained, and with that kept in a checkpoint."""
    run.refresh_from_db()
    assert run.state not in (State.FAILED, State.ERRORED), (run.error_code, run.error_message)
    return len(run.metrics) >= number


def in_state(run: TrainingRun, state: str) -> bool:
    run.refresh_from_db()
    assert run.state == state or run.is_open, (run.state, run.error_message)
    return run.state == state


@pytest.mark.django_db(transaction=True)
def test_a_run_survives_a_restart_and_a_kill_of_its_worker_and_its_model_is_promoted(tmp_path: Path) -> None:
    customers = [enrolled(number, clips=4) for number in (1, 2, 3)]
    epochs = 40
    with running_worker(tmp_path / "first.log", "training") as worker:
        run = request(training__epochs=epochs)
        until(lambda: trained_epochs(run, 2))
        worker.stop()
        assert in_state(run, State.QUEUED)
        seen = len(run.metrics)
    with running_worker(tmp_path / "second.log", "training") as worker:
        queueing.send(run)
        until(lambda: trained_epochs(run, seen + 1))
        processes = worker.kill()
        _, alive = psutil.wait_procs(processes, timeout=30)
        assert alive == []
        assert in_state(run, State.RUNNING)
    TrainingRun.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=2 * TrainingRun.lost_after_seconds))
    with running_worker(tmp_path / "third.log", "training"):
        jobs.recover()
        until(lambda: in_state(run, State.SUCCEEDED), seconds=300)
        assert (run.attempts, run.lost_workers) == (3, 1)
        assert [row["epoch"] for row in run.metrics] == list(range(1, epochs + 1))
        assert actions(run) == ["queued", "started", "requeued", "requeued", "succeeded"]
        log = (run_folder(tmp_path, run.id) / "training.log").read_text()
        assert log.count("resuming after epoch") == 2
        until(lambda: voices_left(run_folder(tmp_path, run.id)) == [])

        model = run.model
        assert model is not None
        with pytest.raises(NotEnoughEvidence):  # who was held out trained the model, too
            services.request_promotion(version=model.version, actor=ADMIN)
        services.request_promotion(version=model.version, actor=ADMIN, force=True, reason="a test")
        until(lambda: ModelVersion.objects.get(pk=model.pk).state == ModelVersion.State.ACTIVE)
        for customer in customers:
            assert voiceprints.voiceprint_of(customer, model.fingerprint) is not None


@pytest.mark.django_db(transaction=True)
def test_a_run_is_cancelled_in_the_middle_and_its_program_ends(tmp_path: Path) -> None:
    enrolled(1), enrolled(2)
    with running_worker(tmp_path / "worker.log", "training") as worker:
        run = request(training__epochs=100_000)
        until(lambda: trained_epochs(run, 1))
        programs = worker.pool_process().children(recursive=True)
        assert programs
        services.cancel_training(run_id=run.id, actor=ADMIN)
        until(lambda: in_state(run, State.CANCELLED))
        _, alive = psutil.wait_procs(programs, timeout=30)
        assert alive == []
        until(lambda: voices_left(run_folder(tmp_path, run.id)) == [])
    assert actions(run) == ["queued", "started", "cancel_requested", "cancelled"]
