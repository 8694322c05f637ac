"""Recordings in the storage: written with their row, gone with their row, and nothing left over."""

import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from storages.backends.s3 import S3Storage

from enrollment import selectors
from enrollment.models import AudioSample, SealedAudio
from tests.support.customers import enrolled
from voiceauth.platform import checks, env, tasks
from voiceauth.platform import storage as audio_store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage of this test alone."""
    storage = audio_store.AudioFolder(location=tmp_path / "audio", directory_permissions_mode=0o700)
    monkeypatch.setattr(SealedAudio._meta.get_field("content"), "storage", storage)
    monkeypatch.setattr(audio_store, "storage", lambda: storage)
    return tmp_path / "audio"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def grow_old(folder: Path) -> None:
    """Two hours pass."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))


def test_the_row_holds_a_random_name_and_the_file_says_nothing_of_whose_it_is(own_folder: Path) -> None:
    customer = enrolled(1, clips=2)
    names = set(SealedAudio.objects.values_list("content", flat=True))
    assert names == files(own_folder) and len(names) == 2
    told = [customer.customer_id, str(customer.pk), *(str(each.pk) for each in customer.samples.all())]
    assert not any(word in name for word in told for name in names)
    assert own_folder.stat().st_mode & 0o077 == 0


def test_a_recording_is_deleted_once_the_deletion_of_its_row_is_committed(
    own_folder: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    enrolled(1, clips=2), enrolled(2, clips=1)
    with django_capture_on_commit_callbacks() as deletions:
        SealedAudio.objects.filter(sample__customer__customer_id="BANK-1").delete()
    assert len(files(own_folder)) == 3  # nothing is lost where the commit fails
    for deletion in deletions:
        deletion()
    assert (
        files(own_folder) == set(SealedAudio.objects.values_list("content", flat=True)) and len(files(own_folder)) == 1
    )


def test_what_a_rollback_leaves_is_swept_after_an_hour_and_nothing_else(own_folder: Path) -> None:
    enrolled(1, clips=2)
    kept = files(own_folder)
    with transaction.atomic():
        enrolled(2, clips=1)
        transaction.set_rollback(True)
    assert len(files(own_folder)) == 3
    assert audio_store.sweep() == 0  # a transaction may still be at it
    grow_old(own_folder)
    tasks.sweep_audio()
    assert files(own_folder) == kept
    assert all(selectors.sample_audio(sample) for sample in AudioSample.objects.all())


def test_a_deletion_that_failed_is_repeated_by_the_sweep(
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    enrolled(1, clips=2)

    def unreachable(self: Any, name: str) -> None:
        raise OSError("the storage is away")

    with monkeypatch.context() as broken:
        broken.setattr(audio_store.AudioFolder, "delete", unreachable)
        with django_capture_on_commit_callbacks(execute=True):
            SealedAudio.objects.all().delete()
        grow_old(own_folder)
        assert audio_store.sweep() == 0 and len(files(own_folder)) == 2
    assert audio_store.sweep() == 2 and files(own_folder) == set()


def test_recordings_collected_are_left_to_the_caller_and_those_of_other_transactions_are_not(
    own_folder: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    enrolled(1, clips=2), enrolled(2, clips=1)
    theirs = SealedAudio.objects.filter(sample__customer__customer_id="BANK-1")
    expected = set(theirs.values_list("content", flat=True))
    with django_capture_on_commit_callbacks(execute=True), audio_store.collecting() as collected:
        theirs.delete()
    assert set(collected) == expected and len(files(own_folder)) == 3
    with django_capture_on_commit_callbacks(execute=True):
        SealedAudio.objects.all().delete()
    assert files(own_folder) == expected
    for name in [*collected, *collected]:  # a repetition is fine
        audio_store.delete(name)
    assert files(own_folder) == set()


def test_a_storage_that_keeps_what_is_deleted_is_reported(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(enrolled(1, clips=1).samples.get().audio.content)
    monkeypatch.setattr(audio_store.AudioFolder, "delete", lambda self, name: None)
    with pytest.raises(OSError, match="still has the recording"):
        audio_store.delete(name)


def test_a_recording_that_the_storage_has_lost_is_reported_as_gone(own_folder: Path) -> None:
    sample = enrolled(1, clips=1).samples.get()
    (own_folder / str(sample.audio.content)).unlink()
    with pytest.raises(audio_store.RecordingGone):
        selectors.sample_audio(sample)


def test_the_settings_name_a_bucket_and_the_s3_storage_is_built(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("VOICEAUTH_AUDIO_STORAGE", "s3://voices/production")
    monkeypatch.setenv("VOICEAUTH_AUDIO_STORAGE_ENDPOINT", "https://s3.bank.example")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-central-1")
    configured = env.storage("VOICEAUTH_AUDIO_STORAGE", Path("unused"))
    settings.STORAGES = {**settings.STORAGES, "audio": configured}
    built = storages["audio"]
    assert isinstance(built, S3Storage)
    assert (built.bucket_name, built.location) == ("voices", "production")
    address = built.bucket.meta.client.generate_presigned_url(
        "get_object", Params={"Bucket": "voices", "Key": built._normalize_name("ab/abcd")}
    )
    assert address.startswith("https://s3.bank.example/voices/production/ab/abcd?")
    assert checks.master_keys_and_storage(None) == []


@pytest.mark.parametrize("value", ["ftp://voices", "s3://"])
def test_a_storage_that_is_neither_a_folder_nor_s3_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VOICEAUTH_AUDIO_STORAGE", value)
    with pytest.raises(ImproperlyConfigured):
        env.storage("VOICEAUTH_AUDIO_STORAGE", Path("unused"))


def test_a_recording_for_which_there_is_no_room_is_refused_and_leaves_nothing(own_folder: Path) -> None:
    storage = audio_store.storage()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))  # as a disk with so much room
    try:
        with pytest.raises(audio_store.StorageUnavailable) as refusal:
            storage.save("ab/cdef", ContentFile(b"a recording that is longer"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert (refusal.value.status, refusal.value.data) == (503, {"retry_after_seconds": 5})
    assert files(own_folder) == set()
    assert storage.save("ab/cdef", ContentFile(b"a recording that is longer")) == "ab/cdef"
