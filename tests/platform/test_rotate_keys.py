"""``manage.py rotate_keys`` while the service enrolls, verifies and erases."""

import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import samples, selectors, services, voiceprints
from enrollment.models import Customer, Voiceprint
from tests.support.customers import IVR, TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import recording
from voiceauth.platform import vault
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.vault import keyring, rotation
from voiceauth.platform.vault.providers import FileKeys
from voiceauth.screening import keys as screening_keys
from voiceauth.screening.models import Fraudster
from voiceauth.verification import selectors as calls
from voiceauth.verification import services as verification
from voiceauth.verification.models import CallAudio

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture
def key_files(settings: Settings) -> Iterator[Path]:
    """The folder of the session's own master keys, whatever the test takes away put back."""
    settings.VOICEAUTH_MASTER_KEY, settings.VOICEAUTH_MASTER_KEYS = "", []
    folder: Path = settings.VOICEAUTH_MASTER_KEYS_DIR
    before = {path: path.read_text() for path in folder.glob("voiceauth_master_key*")}
    yield folder
    for path, content in before.items():
        path.touch(mode=0o600)
        path.write_text(content)


def rotate_keys(*options: str) -> str:
    said = StringIO()
    call_command("rotate_keys", *options, stdout=said)
    return said.getvalue()


def drop_former_keys(folder: Path) -> None:
    for key_id in FileKeys(folder).known_ids()[:-1]:
        (folder / key_id).unlink()
    vault._root_key.cache_clear()  # as in a process that starts now


def test_a_rotation_under_load_loses_nothing(key_files: Path) -> None:
    model = activate_model()
    kept: dict[str, set[bytes]] = {}
    for number in range(12):
        name = f"kept-{number}"
        enrolled_customer(name)
        kept[name] = {recording(name, take=0, speech_seconds=30.0)}
        verification.verify(customer_id=name, audio=recording(name, take=9), actor=IVR)
    derived = vault.derived_key("audit-trail")
    rotated, errors = threading.Event(), []

    def enroll(number: int) -> None:
        name = f"kept-{number}"
        audio = recording(name, take=len(kept[name]), speech_seconds=5.0)
        samples.enroll_sample(customer_id=name, audio=audio, actor=TELLER)
        kept[name].add(audio)

    def come_and_go(number: int) -> None:
        name = f"gone-{number}"
        consenting_customer(name)
        samples.enroll_sample(customer_id=name, audio=recording(name, speech_seconds=30.0), actor=TELLER)
        services.erase_customer(customer_id=name, actor=TELLER)

    def withdraw_and_return(number: int) -> None:
        name = f"back-{number % 3}"
        if not Customer.objects.filter(customer_id=name).exists():
            consenting_customer(name)
        services.withdraw_consent(customer_id=name, purpose="voice_authentication", actor=TELLER)

    def load(work: Callable[[int], None]) -> None:
        try:
            number = 0
            while not rotated.is_set():
                work(number % 12 if work is enroll else number)
                number += 1
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=load, args=(work,)) for work in (enroll, come_and_go, withdraw_and_return)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            rotate_keys("--new")
    finally:
        rotated.set()
        for thread in threads:
            thread.join(timeout=60)
    assert errors == [] and not any(thread.is_alive() for thread in threads)

    rotate_keys()
    drop_former_keys(key_files)
    assert set(rotation.wrapped_under()) == {keyring.current_id()}
    for name, audio in kept.items():
        assert {selectors.sample_audio(sample) for sample in selectors.samples(name)} == audio
    assert CallAudio.objects.count() == 12
    assert all(calls.call_audio(call) == recording(f"kept-{number}", take=9) for number, call in _calls())
    owners = Customer.objects.filter(pk__in=Voiceprint.objects.values("customer"))
    assert {each.customer_id for each in owners} == set(kept)
    assert all(voiceprints.voiceprint_of(each, model.fingerprint) is not None for each in owners)
    assert {bytes(each.data_key) for each in Customer.objects.filter(state="ERASED")} == {b""}
    assert vault.derived_key("audit-trail") == derived and chain.verify().intact
    assert AuditEvent.objects.filter(action="master_key.rotated").count() == 4


def _calls() -> Iterator[tuple[int, CallAudio]]:
    for call in CallAudio.objects.select_related("customer"):
        yield int(call.customer.customer_id.removeprefix("kept-")), call


def test_who_is_erased_between_the_reading_and_the_writing_of_their_key_stays_erased(
    key_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = consenting_customer("ann")
    wrap = keyring.wrap

    def erased_meanwhile(key: bytes, context: str) -> bytes:
        if context == f"customer:{ann.pk}":
            services.erase_customer(customer_id="ann", actor=TELLER)
        return wrap(key, context)

    FileKeys(key_files).renew()
    monkeypatch.setattr(keyring, "wrap", erased_meanwhile)
    rotate_keys()
    ann.refresh_from_db()
    assert (ann.state, bytes(ann.data_key)) == ("ERASED", b"")


def test_a_rotation_that_was_cut_off_goes_on_where_it_was(key_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        consenting_customer(f"customer-{number}")
    FileKeys(key_files).renew()
    total = rotation.remaining()
    monkeypatch.setattr(rotation, "BATCH", 2)

    def kill(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rewrap(kill)
    assert rotation.remaining() == total - 3
    with pytest.raises(CommandError, match=f"{total - 3} data keys remain"):
        rotate_keys("--check")
    rotate_keys()
    assert "Nothing remains" in rotate_keys("--check") and rotation.remaining() == 0


def test_whoever_has_a_data_key_is_rotated_and_a_key_that_cannot_be_opened_is_named(key_files: Path) -> None:
    consenting_customer("ann")
    broken = consenting_customer("broken")
    Customer.objects.filter(pk=broken.pk).update(data_key=keyring.prefix_of("lost") + b"x" * 60)
    fraudster = Fraudster(source="upload", speech_seconds=3.0, created_by="reviewer", expires_at=timezone.now())
    fraudster.data_key = screening_keys.new_fraudster_key(fraudster.pk)
    fraudster.save()
    sealed = screening_keys.seal_audio(fraudster, b"a voice")
    with pytest.raises(CommandError, match=f"1 data keys cannot be opened: customer:{broken.pk}"):
        rotate_keys("--new")
    assert rotation.wrapped_under() == {keyring.current_id(): 3, "lost": 1}  # ann, the fraudster, the root key
    fraudster.refresh_from_db()
    assert screening_keys.unseal_audio(fraudster, sealed) == b"a voice"
    assert AuditEvent.objects.get(action="master_key.rotated").outcome == "failed"


def test_an_answer_kept_for_a_repeated_request_is_given_again_after_the_rotation(
    key_files: Path, teller: APIClient
) -> None:
    def create() -> Response:
        given = {"customer_id": "ann", "display_name": "Ann"}
        return teller.post("/api/v1/customers", given, format="json", headers={"Idempotency-Key": "k1"})

    first = create()
    rotate_keys("--new")
    drop_former_keys(key_files)
    again = create()
    assert (first.status_code, again.content, again["Idempotent-Replayed"]) == (201, first.content, "true")


def test_a_missing_root_key_is_not_replaced(key_files: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT data_key FROM vault_rootkey")
        kept = cursor.fetchone()[0]
        cursor.execute("DELETE FROM vault_rootkey")
    vault._root_key.cache_clear()
    try:
        with pytest.raises(vault.RootKeyMissing):
            vault.derived_key("audit-trail")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO vault_rootkey VALUES (1, %s)", [kept])
