"""Recordings and the journal of erasures in S3: a real server that speaks its API, of the package moto."""

from typing import Any

import pytest
from django.core.files.storage import storages
from pytest_django import Settings

from enrollment import selectors, services
from enrollment.models import AudioSample, SealedAudio
from tests.support.customers import TELLER, enrolled_customer, run_erasures
from tests.support.model import activate_model
from tests.support.object_storage import contents
from tests.support.stand_in import recording
from voiceauth.platform import env
from voiceauth.platform import storage as audio_store
from voiceauth.platform.erasure import journal
from voiceauth.platform.erasure.models import Erasure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]


@pytest.fixture
def bucket(empty_bucket: Any, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Any:
    """A bucket with recordings below ``audio/`` and the journal below ``erasures/``."""
    made = {}
    for alias, variable in (("audio", "VOICEAUTH_AUDIO_STORAGE"), ("erasures", "VOICEAUTH_ERASURE_JOURNAL")):
        monkeypatch.setenv(variable, f"s3://{empty_bucket.name}/{alias}")
        monkeypatch.setenv(f"{variable}_ENDPOINT", empty_bucket.meta.client.meta.endpoint_url)
        made[alias] = env.storage(variable, settings.STATE_DIR)
    settings.STORAGES = settings.STORAGES | made
    monkeypatch.setattr(SealedAudio._meta.get_field("content"), "storage", storages["audio"])
    return empty_bucket


def test_a_recording_is_kept_sealed_in_the_bucket_and_read_from_there(bucket: Any) -> None:
    activate_model()
    enrolled_customer("ann")
    (key, sealed), *others = contents(bucket, "audio/").items()
    assert not others and key == f"audio/{SealedAudio.objects.get().content.name}"
    audio = recording("ann", take=0, speech_seconds=30.0)
    assert audio not in sealed and b"ann" not in sealed
    assert selectors.sample_audio(AudioSample.objects.get()) == audio
    assert list(audio_store.stored()) == [{SealedAudio.objects.get().content.name}]


def test_an_erasure_leaves_only_its_entry_in_the_journal(bucket: Any) -> None:
    activate_model()
    enrolled_customer("ann")
    enrolled_customer("bob")
    kept = SealedAudio.objects.get(sample__customer__customer_id="bob").content.name
    services.erase_customer(customer_id="ann", actor=TELLER)
    run_erasures()
    erasure = Erasure.objects.get()
    assert erasure.state == "SUCCEEDED" and set(contents(bucket, "audio/")) == {f"audio/{kept}"}
    assert journal.ids() == {erasure.pk} and journal.read(erasure.pk).customer_id == "ann"


def test_a_bucket_that_keeps_what_is_deleted_gives_no_receipt(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    activate_model()
    enrolled_customer("ann")
    services.erase_customer(customer_id="ann", actor=TELLER)
    with monkeypatch.context() as held:
        held.setattr(storages["audio"], "delete", lambda name: None)  # a legal hold on the object
        run_erasures()
    assert (Erasure.objects.get().state, Erasure.objects.get().error_code) == ("QUEUED", "recordings_left")
    run_erasures()
    assert Erasure.objects.get().state == "SUCCEEDED" and not contents(bucket, "audio/")


def test_a_recording_that_no_row_names_is_swept(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    activate_model()
    enrolled_customer("ann")
    bucket.put_object(Key="audio/ab/abandoned", Body=b"sealed")
    monkeypatch.setattr(audio_store, "ORPHAN_AGE", -audio_store.ORPHAN_AGE)  # an hour has passed
    assert audio_store.sweep() == 1
    assert set(contents(bucket, "audio/")) == {f"audio/{SealedAudio.objects.get().content.name}"}
