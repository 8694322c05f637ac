"""Real servers, a real Celery worker, and the fixtures of ``tests/support``."""

# isort: off
import os

from tests.support import servers

# The networks of the tests are tiny: a second OpenMP thread would only wait for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
servers.start()  # before pytest-django reads the settings
os.environ["DJANGO_SETTINGS_MODULE"] = "voiceauth.settings"

import django

django.setup()  # the fixtures import models

import shutil
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import TransactionTestCase, override_settings
from pytest_django import DjangoDbBlocker

from mltraining import gallery, worker_client
from mltraining.messages import PING, Ping
from tests.support import emptying
from tests.support.batches import storage
from tests.support.clients import admin, anonymous, auditor, ivr, reviewer, teller
from tests.support.journal import journal_folder
from tests.support.model import models_folder, shipped_export, shipped_model, small_recogniser
from tests.support.object_storage import empty_bucket, s3
from tests.support.people import people, signed_in
from tests.support.phone import dial
from tests.support.stand_in import real_audio_model, worker
from tests.support.training_data import clips
from tests.support.waiting import until
from tests.support.workers import Worker, running_worker
from voiceauth.platform import vault
from voiceauth.platform.errors import ScoringUnavailable

__all__ = [
    "admin",
    "anonymous",
    "auditor",
    "clips",
    "dial",
    "empty_bucket",
    "ivr",
    "journal_folder",
    "models_folder",
    "people",
    "real_audio_model",
    "reviewer",
    "s3",
    "shipped_export",
    "shipped_model",
    "signed_in",
    "small_recogniser",
    "storage",
    "teller",
    "worker",
]
# isort: on


# A worker of pytest-xdist takes whole files, in this order, so that none has a long one left when the other is done.
LONGEST_FIRST = (
    "review/test_browser.py",
    "test_openapi_contract.py",
    "review/test_try_in_a_browser.py",
    "retraining/test_retraining.py",
    "test_examples.py",
    "launcher/test_backup.py",
    "launcher/test_serve.py",
    "verification/streams/test_streams.py",
    "review/test_a_run_in_a_browser.py",
    "review/test_second_factor_in_a_browser.py",
    "mltraining/speech/test_cli.py",
    "launcher/test_embedded.py",
    "review/test_evidence_in_a_browser.py",
    "verification/test_end_to_end.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    place = {folder / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Or pytest-xdist's processes would read the settings before this file has named their servers."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.fixture(autouse=True, scope="session")
def _tables_are_emptied_by_deleting_their_rows() -> Iterator[None]:
    """Truncating every table after each test with ``transactional_db`` would take longer than most of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: emptying.empty_tables())
        yield


@pytest.fixture(autouse=True)
def _a_gallery_of_its_own() -> Iterator[None]:
    """An index may hold what a test writes and rolls back: no other test may read it."""
    own = settings.VOICEAUTH_GALLERY_DIR.with_name(f"gallery-{uuid.uuid4().hex}")
    with override_settings(VOICEAUTH_GALLERY_DIR=own):
        yield
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(autouse=True)
def _what_is_watched_is_as_fresh_as_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The galleries of this process outlive a test, whose rows are rolled back."""
    monkeypatch.setattr(gallery, "FRESH_SECONDS", 0.0)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, and its root key read once, as every process of the service does."""
    with django_db_blocker.unblock():
        vault.derived_key("tests")


@pytest.fixture(scope="module")
def celery_worker_process(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A real Celery worker on the queues ``scoring`` and ``maintenance``, bound to the test database.

    Use it with ``transactional_db``: the worker sees only what is committed.
    """
    log = tmp_path_factory.mktemp("shared-worker") / "worker.log"
    with django_db_blocker.unblock(), running_worker(log, "scoring,maintenance") as worker:
        until(_a_worker_answers)
        yield worker
        worker.stop()


def _a_worker_answers() -> bool:
    try:
        worker_client.call(PING, Ping(), deadline_seconds=2)
    except ScoringUnavailable:
        return False
    return True


FAILED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def _worker_log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.stash.get(FAILED, False) and "celery_worker_process" in request.fixturenames:
        worker = request.getfixturevalue("celery_worker_process")
        print(f"--- the worker's log, the last lines\n{worker.log_text()[-8000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    if os.environ.get("CI") and report.skipped and "is missing" in str(report.longrepr):
        report.outcome = "failed"  # CI names a folder of recorded speech
        report.longrepr = f"in CI this may not be skipped: {report.longrepr}"
    return report
