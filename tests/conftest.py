"""Real servers, API clients of each role, a real Celery worker."""

# isort: off
import os

from tests import servers

servers.start()  # before pytest-django reads the settings
os.environ["DJANGO_SETTINGS_MODULE"] = "voiceauth.settings"

import django

django.setup()  # the conftests of the folders import models

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from mltraining import worker_client
from mltraining.messages import PING, Ping
from tests.factories import api_client
from tests.mltraining.workers import Worker, running_worker, until
from voiceauth.platform import vault
from voiceauth.platform.errors import ScoringUnavailable

# isort: on


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Or pytest-xdist's processes would read the settings before this file has named their servers."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.fixture(autouse=True, scope="session")
def _the_trail_can_be_emptied_between_tests() -> Iterator[None]:
    """``transactional_db`` empties every table; only here may the trail's guard step aside."""
    operations = type(connection.ops)
    original = operations.execute_sql_flush

    def flush(self: Any, sql_list: list[str]) -> None:
        table = "ALTER TABLE audit_auditevent"
        guards = ("audit_no_change", "audit_no_truncate")
        off = [f"{table} DISABLE TRIGGER {name}" for name in guards]
        on = [f"{table} ENABLE ALWAYS TRIGGER {name}" for name in guards]
        original(self, [*off, *sql_list, *on])

    operations.execute_sql_flush = flush
    yield
    operations.execute_sql_flush = original


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, and its root key read once, as every process of the service does."""
    with django_db_blocker.unblock():
        vault.derived_key("tests")


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture
def teller(db: None) -> APIClient:
    return api_client("teller")


@pytest.fixture
def ivr(db: None) -> APIClient:
    return api_client("ivr")


@pytest.fixture
def reviewer(db: None) -> APIClient:
    return api_client("reviewer")


@pytest.fixture
def admin(db: None) -> APIClient:
    return api_client("admin")


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


@pytest.fixture(autouse=True)
def _worker_log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    report = getattr(request.node, "failed_report", None)
    if report is not None and "celery_worker_process" in request.fixturenames:
        worker = request.getfixturevalue("celery_worker_process")
        print(f"--- the worker's log, the last lines\n{worker.log_text()[-8000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.failed_report = report
    if os.environ.get("CI") and report.skipped and "is missing" in str(report.longrepr):
        report.outcome = "failed"  # CI names a folder of recorded speech
        report.longrepr = f"in CI this may not be skipped: {report.longrepr}"
    return report
