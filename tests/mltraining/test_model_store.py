"""Models in S3 (a real server that speaks its API), and machines that fetch them."""

import fcntl
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from pytest_django import Settings

from mltraining import model_store, registry, scorer
from mltraining.errors import ModelUnavailable
from mltraining.models import ModelVersion
from tests.support.model import export_untrained, put_into_service, register_untrained
from tests.support.object_storage import contents
from tests.support.waiting import until
from tests.support.workers import running_worker
from voiceauth.platform import checks, env
from voiceauth.platform.audit import Actor
from voiceauth.platform.jobs import transitions
from voiceauth.platform.jobs.errors import CancelRequested
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.retraining import services, training
from voiceauth.retraining.models import TrainingRun

pytestmark = pytest.mark.django_db


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, endpoint: str) -> None:
    monkeypatch.setenv("VOICEAUTH_MODELS_STORAGE", f"s3://{name}/models")
    monkeypatch.setenv("VOICEAUTH_MODELS_STORAGE_ENDPOINT", endpoint)
    configured = env.bucket("VOICEAUTH_MODELS_STORAGE")
    assert configured is not None
    settings.STORAGES = settings.STORAGES | {"models": configured}


@pytest.fixture
def bucket(empty_bucket: Any, s3: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, models_folder: Path) -> Any:
    use(settings, monkeypatch, empty_bucket.name, s3)
    monkeypatch.setattr(registry, "_next_attempt", {})
    return empty_bucket


@pytest.fixture
def another_machine(settings: Settings, tmp_path: Path) -> Callable[[], Path]:
    """Go on where no model is in memory, and none in the folder, which is returned."""

    def go(name: str = "elsewhere") -> Path:
        settings.VOICEAUTH_MODELS_DIR = tmp_path / name
        scorer._models.clear()
        return tmp_path / name

    return go


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def registered(tmp_path: Path) -> ModelVersion:
    (tmp_path / "roc.png").write_bytes(b"png")
    return register_untrained(tmp_path)


def time_passes() -> None:
    registry._next_attempt.clear()


def test_a_machine_without_the_model_fetches_it_and_serves_it(
    bucket: Any, tmp_path: Path, models_folder: Path, another_machine: Callable[[], Path]
) -> None:
    version = registered(tmp_path).version
    before = scorer.load(version).pipeline.embed(scorer._noise())
    own = files(models_folder / version)
    stored = contents(bucket, f"models/{version}/")
    assert {key.removeprefix(f"models/{version}/") for key in stored} == {*own, "manifest"}

    folder = another_machine()
    assert (scorer.load(version).pipeline.embed(scorer._noise()) == before).all()
    assert files(folder / version) == own
    assert [path.name for path in registry.charts_of(version)] == ["roc.png"]
    assert checks.master_keys_and_storage(None) == []


@pytest.mark.django_db(transaction=True)
def test_a_scoring_worker_with_an_empty_folder_fetches_the_model_in_service(
    bucket: Any, s3: str, tmp_path: Path, another_machine: Callable[[], Path]
) -> None:
    model = registered(tmp_path)
    put_into_service(model)
    folder = another_machine()
    where = {"VOICEAUTH_MODELS_STORAGE": f"s3://{bucket.name}/models", "VOICEAUTH_MODELS_STORAGE_ENDPOINT": s3}
    with running_worker(tmp_path / "scoring.log", "scoring", concurrency=2, **where) as worker:
        until(lambda: worker.log_text().count(f"model {model.version} was fetched") == 2)
        assert worker.log_text().count("ERROR") == 0
    assert {path.name for path in folder.iterdir()} == {model.version, f".fetching-{model.version}"}


def test_processes_that_fetch_at_once_do_not_disturb_each_other(
    bucket: Any, tmp_path: Path, models_folder: Path, another_machine: Callable[[], Path]
) -> None:
    model = registered(tmp_path)
    own = files(models_folder / model.version)
    folder = another_machine()
    cut_off = folder / f".incoming-{model.version}"  # what a process that was killed has left
    cut_off.mkdir(parents=True)
    (cut_off / "pipeline.json").write_bytes(b"half")
    errors: list[Exception] = []

    def fetch() -> None:
        try:
            model_store.fetch(model.version, model.fingerprint, folder / model.version)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]  # each opens the lock for itself, as a process does
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and files(folder / model.version) == own and not cut_off.exists()


def test_who_waits_for_another_process_that_fails_does_not_begin_again(
    bucket: Any, tmp_path: Path, another_machine: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = registered(tmp_path)
    folder = another_machine()
    folder.mkdir()
    errors: list[str] = []
    waits = threading.Event()

    def flock(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX:
            waits.set()
        fcntl.flock(file, how)

    def fetch() -> None:
        with pytest.raises(model_store.StoreError) as error:
            model_store.fetch(model.version, model.fingerprint, folder / model.version)
        errors.append(str(error.value))

    parts = {name: getattr(fcntl, name) for name in ("LOCK_EX", "LOCK_NB")}
    monkeypatch.setattr(model_store, "fcntl", SimpleNamespace(flock=flock, **parts))
    thread = threading.Thread(target=fetch)
    with (folder / f".fetching-{model.version}").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread.start()
        assert waits.wait(10)
    thread.join()
    assert errors == [f"{model.version} could not be fetched: another process has just failed"]


def test_half_an_upload_is_no_model(
    bucket: Any, tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = storages["models"].save

    def breaks(name: str, content: Any) -> str:
        if name.endswith("pipeline.json"):
            raise OSError("the line broke")
        return str(save(name, content))

    with monkeypatch.context() as broken:
        broken.setattr(storages["models"], "save", breaks)
        broken.setattr(storages["models"], "delete", breaks)
        with pytest.raises(model_store.StoreError, match="the line broke"):
            registered(tmp_path)
    (key, *_) = contents(bucket, "models/")
    assert not model_store.has(key.split("/")[1])
    assert not ModelVersion.objects.exists() and list(models_folder.iterdir()) == []


@pytest.mark.parametrize("name", ["encoder.safetensors", "manifest"])
def test_a_damaged_or_forged_model_is_refused_and_fetched_once_it_is_whole(
    name: str,
    bucket: Any,
    tmp_path: Path,
    another_machine: Callable[[], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    version = registered(tmp_path).version
    key = f"models/{version}/{name}"
    whole = contents(bucket, key)[key]
    bucket.put_object(Key=key, Body=whole[:-1] + bytes([whole[-1] ^ 1]))
    folder = another_machine()
    with pytest.raises(ModelUnavailable):
        scorer.load(version)
    assert f"model {version} could not be fetched: " in caplog.text
    assert not {each.name for each in folder.iterdir()} - {f".fetching-{version}"}
    bucket.put_object(Key=key, Body=whole)
    time_passes()
    assert scorer.load(version).version == version


def test_another_model_under_the_same_version_is_refused(
    bucket: Any, tmp_path: Path, another_machine: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    model, other = registered(tmp_path), register_untrained(tmp_path, seed=1)
    model_store.upload(model.version, registry.folder_of(other.version))
    another_machine()
    with pytest.raises(ModelUnavailable):
        scorer.load(model.version)
    assert f"it has the fingerprint {other.fingerprint}, not the registered {model.fingerprint}" in caplog.text


def test_while_the_store_is_away_calls_do_not_wait_for_it_and_the_model_comes_later(
    bucket: Any,
    s3: str,
    tmp_path: Path,
    settings: Settings,
    another_machine: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    version = registered(tmp_path).version
    another_machine()
    use(settings, monkeypatch, bucket.name, "http://127.0.0.1:9")  # nobody listens there
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            scorer.load(version)
    assert caplog.text.count("could not be fetched") == 1
    monkeypatch.setattr(scorer, "_broken", set())
    scorer._load_beforehand(version)
    assert scorer._broken == set() and registry.charts_of(version) == []
    use(settings, monkeypatch, bucket.name, s3)
    time_passes()
    scorer._load_beforehand(version)
    assert scorer.loaded_versions() == [version]


def test_what_does_not_come_to_be_registered_is_removed_in_both_places(
    bucket: Any, tmp_path: Path, models_folder: Path
) -> None:
    version = registered(tmp_path).version
    registry.uninstall(version)
    assert contents(bucket, "models/") == {} and list(models_folder.iterdir()) == []


def test_models_from_before_the_bucket_are_stored_by_a_command(
    bucket: Any, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    used = settings.STORAGES
    settings.STORAGES = {alias: each for alias, each in used.items() if alias != "models"}
    version = registered(tmp_path).version
    with pytest.raises(CommandError, match="VOICEAUTH_MODELS_STORAGE is not set"):
        call_command("store_models")
    settings.STORAGES = used
    call_command("store_models")
    assert capsys.readouterr().out.split() == [version] and model_store.has(version)
    call_command("store_models")
    assert capsys.readouterr().out == ""
    call_command("store_models", version)
    assert capsys.readouterr().out.split() == [version]


@pytest.mark.usefixtures("small_recogniser")
def test_a_trained_model_waits_for_the_store_until_somebody_cancels_the_run(
    bucket: Any, s3: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = tmp_path / "output"
    (trained / "charts").mkdir(parents=True)
    export_untrained(trained / "pipeline")
    run = services.request_training(config={}, actor=Actor(name="ops", role="admin"))
    held = transitions.claim(TrainingRun, run.id)
    assert held is not None
    attempt = Attempt(held)
    pauses: list[float] = []

    def answers_then(seconds: float) -> None:
        pauses.append(seconds)
        use(settings, monkeypatch, bucket.name, s3)

    monkeypatch.setattr(training, "time", SimpleNamespace(sleep=answers_then))
    use(settings, monkeypatch, bucket.name, "http://127.0.0.1:9")
    version = training._install(attempt, trained, [])
    assert model_store.has(version) and pauses == [training.STORE_PAUSE_SECONDS]

    def cancels(seconds: float) -> None:
        TrainingRun.objects.filter(pk=run.pk).update(cancel_requested=True)

    monkeypatch.setattr(training, "time", SimpleNamespace(sleep=cancels))
    use(settings, monkeypatch, bucket.name, "http://127.0.0.1:9")
    registry.uninstall(version)
    with pytest.raises(CancelRequested):
        training._install(attempt, trained, [])
    assert list(registry.folder_of(version).parent.iterdir()) == []


@pytest.mark.usefixtures("journal_folder")
@pytest.mark.django_db(transaction=True)
def test_a_backup_has_the_models_that_its_machine_lacked(
    bucket: Any, tmp_path: Path, models_folder: Path, another_machine: Callable[[str], Path]
) -> None:
    version = registered(tmp_path).version
    another_machine("second")
    call_command("backup", str(tmp_path / "backup"))
    assert files(tmp_path / "backup" / "models") == files(models_folder)
    bucket.objects.all().delete()
    shutil.rmtree(another_machine("third").parent / "second")
    with pytest.raises(CommandError, match=f"The model {version} cannot be fetched"):
        call_command("backup", str(tmp_path / "another"))
