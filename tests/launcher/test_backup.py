"""A backup, the loss of everything, and the restore: with real servers, real workers and real recordings."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from enrollment.models import HeardRecording
from tests.support.clients import SignedIn, upload
from tests.support.customers import consenting_customer, run_erasures
from tests.support.model import leave_voices_together, put_into_service, register_untrained
from tests.support.web import running_web
from tests.support.workers import running_worker
from voiceauth.client import Client
from voiceauth.demo import voices
from voiceauth.launcher import embedded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("journal_folder")]

ANN, BOB, CARL = (voices.recording(number, 0) for number in range(3))


@pytest.fixture
def state() -> Iterator[Path]:
    """The state folder of the new machine. As root its server runs as another user, so it is not in ``tmp_path``."""
    with tempfile.TemporaryDirectory(prefix="voiceauth-test-") as folder:
        yield Path(folder) / "state"


@pytest.fixture
def apart(journal_folder: Path) -> dict[str, str]:
    """What a bank keeps apart from its backups: the master keys and the journal of erasures."""
    return {
        "VOICEAUTH_MASTER_KEYS_DIR": str(configured.VOICEAUTH_MASTER_KEYS_DIR),
        "VOICEAUTH_ERASURE_JOURNAL": str(journal_folder),
    }


def manage(state: Path, apart: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command on the embedded database of ``state``."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"VOICEAUTH_STATE_DIR": str(state)} | apart
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=configured.BASE_DIR, env=environment, capture_output=True, text=True)


def enroll(teller: APIClient, customer_id: str, audio: bytes) -> None:
    consenting_customer(customer_id)
    answer = teller.post(f"/api/v1/customers/{customer_id}/enrollments", {"audio": upload(audio)})
    assert answer.status_code == 201, answer.json()


def test_a_known_caller_is_accepted_and_who_was_erased_since_stays_erased(
    teller: SignedIn, ivr: SignedIn, tmp_path: Path, state: Path, apart: dict[str, str], settings: Settings
) -> None:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 3
    settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 60  # the machine that tests may be busy
    put_into_service(register_untrained(tmp_path, apart=(ANN, BOB)))
    leave_voices_together()
    with running_worker(tmp_path / "scoring.log", "scoring"):
        for customer_id, audio in (("ann", ANN), ("bob", BOB), ("carl", CARL)):
            enroll(teller, customer_id, audio)
    HeardRecording.objects.all().delete()  # the small model knows these recordings alone
    erase(teller, "carl")
    backup = tmp_path / "backup"
    call_command("backup", str(backup))
    erase(teller, "bob")

    restored = manage(state, apart, "restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    assert "Carried out again 1 erasures" in restored.stdout and "The audit trail is intact" in restored.stdout
    assert calls_on(state, apart, tmp_path, ivr.token, settings.REDIS_URL) == {
        "ann": ("ENROLLED", "ACCEPT"),
        "bob": ("ERASED", "REJECT"),  # as any stranger
        "carl": ("ERASED", "REJECT"),
    }

    second = tmp_path / "second"
    assert manage(state, apart, "backup", str(second)).returncode == 0
    shutil.rmtree(state)  # now of the embedded database, with everything in it
    again = manage(state, apart, "restore", str(second), "--without-journal")
    assert again.returncode == 0 and "erase again by hand" in again.stderr, again.stderr
    assert manage(state, apart, "verify_audit_trail").returncode == 0


def erase(teller: APIClient, customer_id: str) -> None:
    assert teller.delete(f"/api/v1/customers/{customer_id}").status_code == 202
    run_erasures()


def calls_on(
    state: Path, apart: dict[str, str], folder: Path, token: str, redis_url: str
) -> dict[str, tuple[str, str]]:
    """State of each customer and decision on their call, from a web server and a worker on the restored state."""
    server = embedded.PostgreSQL(state)
    environment: dict[str, Any] = apart | {
        "DATABASE_URL": server.join(),
        "REDIS_URL": redis_url,
        "VOICEAUTH_STATE_DIR": str(state),
        "VOICEAUTH_MODELS_DIR": str(state / "models"),
        "VOICEAUTH_SCORING_DEADLINE_SECONDS": "30",
    }
    try:
        with (
            running_worker(folder / "restored.log", "scoring", **environment),
            running_web(folder, **environment) as port,
            Client(f"http://127.0.0.1:{port}", token=token, patience_seconds=200, timeout=60) as client,
            psycopg.connect(server.url) as connection,
        ):
            states: dict[str, str] = dict(
                connection.execute("SELECT customer_id, state FROM enrollment_customer").fetchall()
            )
            calls = {"ann": ANN, "bob": BOB, "carl": CARL}
            return {name: (states[name], client.verify(name, audio).decision) for name, audio in calls.items()}
    finally:
        server.leave()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    consenting_customer("ann")
    call_command("backup", str(tmp_path / "backup"))
    return tmp_path / "backup"


def test_the_sums_are_those_of_sha256sum_and_nobody_else_may_enter_the_folder(backup: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=backup, check=True, capture_output=True)
    assert backup.stat().st_mode & 0o077 == 0


def test_a_damaged_backup_is_refused(backup: Path) -> None:
    with (backup / "database.dump").open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    with pytest.raises(CommandError, match=r"The backup is damaged: database\.dump"):
        call_command("restore", str(backup))


def test_without_its_master_key_a_backup_is_refused(backup: Path, tmp_path: Path, settings: Settings) -> None:
    settings.VOICEAUTH_MASTER_KEYS_DIR = tmp_path / "other-keys"
    with pytest.raises(CommandError, match="Put the same master keys back first"):
        call_command("restore", str(backup))


def test_without_the_journal_a_restore_needs_a_word_for_it(
    teller: SignedIn, tmp_path: Path, journal_folder: Path
) -> None:
    consenting_customer("ann")
    erase(teller, "ann")
    call_command("backup", str(tmp_path / "backup"))
    shutil.rmtree(journal_folder)
    with pytest.raises(CommandError, match="add --without-journal"):
        call_command("restore", str(tmp_path / "backup"))


def test_a_database_with_something_in_it_is_never_written_over(backup: Path) -> None:
    with pytest.raises(CommandError, match="The database is not empty"):
        call_command("restore", str(backup))


def test_a_backup_does_not_write_over_another(backup: Path) -> None:
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(backup))
