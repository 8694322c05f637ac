"""The training set: what is exported, what is left out, and how copies of an erased voice go."""

import contextlib
import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pytest_django import Settings

from enrollment import samples, services
from enrollment.errors import CustomerNotFound
from enrollment.models import Customer
from mltraining.speech.training import sealed
from tests.support.audio import voice, wav
from tests.support.customers import add_recording, enrolled, run_erasures, withdraw
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.erasure.models import Erasure
from voiceauth.retraining import training_data
from voiceauth.retraining.models import TrainingRun

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_recogniser")]


def manifest(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data" / "train.pq")


def test_the_training_set_is_the_audio_of_enrolled_customers_who_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = enrolled(1), enrolled(2, clips=3)
    enrolled(3, state=Customer.State.ENROLLING)
    enrolled(4, state=Customer.State.LOCKED)
    withdraw(enrolled(5))
    data = training_data.export_manifest(tmp_path / "run")
    assert data.customers == {one.pk, other.pk}
    assert len(data.samples) == 7
    assert data.held_out == 2
    rows = manifest(tmp_path / "run")
    assert set(rows["class"]) == {str(one.pk), str(other.pk)}
    sample = one.samples.order_by("created_at").first()
    assert sample is not None
    name, audio = f"{one.pk}/{sample.pk}", wav(voice(1, seconds=1.5, sample_rate=8000, take=0), 8000)
    monkeypatch.setenv(sealed.KEY_VARIABLE, training_data.data_key_of(tmp_path / "run").hex())
    assert sealed.read(tmp_path / "run" / "data", name) == audio


def test_no_exported_recording_can_be_played_without_the_runs_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = enrolled(1, clips=1)
    training_data.export_manifest(tmp_path / "run")
    audio = wav(voice(1, seconds=1.5, sample_rate=8000, take=0), 8000)
    stored = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert stored and not any(audio[44:144] in path.read_bytes() for path in stored)
    name = f"{customer.pk}/{customer.samples.get().pk}"
    folder, moved = tmp_path / "run" / "data", f"{customer.pk}/{uuid.uuid4()}"
    (folder / moved).write_bytes((folder / name).read_bytes())
    for run, place in [("another run", name), ("run", moved)]:
        monkeypatch.setenv(sealed.KEY_VARIABLE, training_data.data_key_of(tmp_path / run).hex())
        with pytest.raises(OSError):
            sealed.read(folder, place)


def test_nothing_exported_tells_the_banks_identifier_and_only_we_may_enter(tmp_path: Path) -> None:
    enrolled(1)
    training_data.export_manifest(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0
    names = [str(path) for path in (tmp_path / "run").rglob("*")]
    assert not any("BANK" in name for name in names)
    assert "BANK" not in manifest(tmp_path / "run").to_csv()


@pytest.mark.parametrize(
    ("clips", "folds"),
    [(1, [1]), (2, [1, 0]), (4, [1, 2, 3, 0]), (12, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2])],
)
def test_folds_rotate_over_each_customers_recordings(clips: int, folds: list[int]) -> None:
    assert [training_data.fold_of(position, clips) for position in range(clips)] == folds


def test_a_resumed_run_keeps_its_recordings_and_its_output(tmp_path: Path) -> None:
    one = enrolled(1)
    first = training_data.export_manifest(tmp_path / "run")
    (tmp_path / "run" / "output").mkdir()
    add_recording(one, 1, take=9)
    enrolled(2)
    assert training_data.export_manifest(tmp_path / "run") == first
    assert (tmp_path / "run" / "output").exists()


def test_a_resumed_run_starts_anew_without_whoever_withdrew(tmp_path: Path) -> None:
    one, other = enrolled(1), enrolled(2)
    first = training_data.export_manifest(tmp_path / "run")
    (tmp_path / "run" / "output").mkdir()
    withdraw(other)
    assert not first.is_current()
    assert training_data.export_manifest(tmp_path / "run").customers == {one.pk}
    assert not (tmp_path / "run" / "output").exists()
    assert not (tmp_path / "run" / "data" / str(other.pk)).exists()


def test_an_export_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    enrolled(1)

    def kill(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_data.export_manifest(tmp_path / "run", on_clip=kill)
    assert len(training_data.export_manifest(tmp_path / "run").samples) == 4


def exported(state: str = "QUEUED") -> Path:
    """The folder of a run that was exported, with a checkpoint."""
    folder = training_data.folder_of(TrainingRun.objects.create(requested_by="ops", state=state).id)
    training_data.export_manifest(folder)
    (folder / "output").mkdir()
    (folder / "output" / "checkpoint").touch()
    return folder


def test_erasing_a_customer_removes_their_recordings_and_what_came_of_them_from_a_run_under_way() -> None:
    one, other = enrolled(1), enrolled(2)
    folder = exported()
    erasure = services.erase_customer(customer_id=one.customer_id, actor=SYSTEM)
    run_erasures()
    erasure.refresh_from_db()
    assert erasure.state == "SUCCEEDED"
    assert not (folder / "data").exists() and not (folder / "output").exists()
    assert training_data.export_manifest(folder).customers == {other.pk}


def test_an_erasure_waits_for_a_run_whose_worker_has_used_the_recordings() -> None:
    one, other = enrolled(1), enrolled(2)
    folder = exported("RUNNING")
    erasure = services.erase_customer(customer_id=one.customer_id, actor=SYSTEM)
    run_erasures()
    erasure.refresh_from_db()
    assert (erasure.state, erasure.error_code) == ("QUEUED", "copies_in_use")
    assert not list((folder / "data" / str(one.pk)).iterdir()) and list((folder / "data" / str(other.pk)).iterdir())
    assert (folder / "output" / "checkpoint").exists()  # it knows the voice, and its worker is at it
    assert training_data.is_told_to_forget(folder)
    TrainingRun.objects.update(state="QUEUED")
    run_erasures()
    erasure.refresh_from_db()
    assert (erasure.state, erasure.error_code) == ("SUCCEEDED", "")
    assert not (folder / "output").exists()


def test_a_run_restarts_once_for_a_removed_recording_and_goes_on_with_the_customers_others(settings: Settings) -> None:
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 0.1
    one, _ = enrolled(1), enrolled(2)
    folder = exported("RUNNING")
    sample = one.samples.earliest("created_at")
    samples.remove_sample(customer_id=one.customer_id, sample_id=sample.pk, actor=SYSTEM)
    run_erasures()
    assert training_data.is_told_to_forget(folder)
    left = training_data.export_manifest(folder)  # the next attempt
    assert sample.pk not in left.samples and one.pk in left.customers
    assert not training_data.is_told_to_forget(folder) and not (folder / "output").exists()
    run_erasures()
    assert Erasure.objects.get().state == "SUCCEEDED"
    assert not training_data.is_told_to_forget(folder)
    assert training_data.export_manifest(folder) == left


def test_an_erasure_during_the_export_leaves_no_copy(tmp_path: Path) -> None:
    enrolled(1), enrolled(2)
    folder = training_data.folder_of(TrainingRun.objects.create(requested_by="ops", state="RUNNING").id)

    def erase_both(share: float) -> None:
        for name in ("BANK-1", "BANK-2"):
            with contextlib.suppress(CustomerNotFound):  # erased already
                services.erase_customer(customer_id=name, actor=SYSTEM)
        run_erasures()

    training_data.export_manifest(folder, on_clip=erase_both)
    assert [path.name for path in (folder / "data").rglob("*") if path.is_file()] == ["train.pq"]


def test_a_folder_that_cannot_be_removed_keeps_an_erasure_open_and_not_the_sweep_from_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = enrolled(1)
    broken, fine = exported("FAILED"), exported("FAILED")
    rmtree = shutil.rmtree

    def read_only(path: Path, **options: Any) -> None:
        if not path.is_relative_to(broken):
            rmtree(path, **options)
        elif not options.get("ignore_errors"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as mounted:
        mounted.setattr(shutil, "rmtree", read_only)
        erasure = services.erase_customer(customer_id=one.customer_id, actor=SYSTEM)
        run_erasures()
        training_data.sweep()
    erasure.refresh_from_db()
    assert (erasure.state, erasure.error_code) == ("QUEUED", "copies_left")
    assert "Read-only file system" in erasure.error_message and "Read-only file system" in caplog.text
    assert (broken / "data").exists() and not (fine / "data").exists()
    run_erasures()
    erasure.refresh_from_db()
    assert erasure.state == "SUCCEEDED" and not (broken / "data").exists()


def test_the_sweep_removes_what_runs_that_ended_have_left_and_nothing_else(tmp_path: Path) -> None:
    enrolled(1)
    ended = TrainingRun.objects.create(requested_by="ops", state=TrainingRun.State.FAILED)
    waiting = TrainingRun.objects.create(requested_by="ops")
    for run_id in (ended.id, waiting.id, uuid.uuid4()):
        training_data.export_manifest(training_data.folder_of(run_id))
        (training_data.folder_of(run_id) / "output").mkdir()
    training_data.sweep()
    left = {path.parent.name for path in (tmp_path / "runs").glob("*/*")}
    assert left == {str(waiting.id)}
