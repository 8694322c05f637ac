"""Real servers, API clients of each role, a real Celery worker."""

# isort: skip_file
from tests import servers

servers.start()  # before pytest-django reads the settings

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.backends.postgresql.operations import DatabaseOperations
from rest_framework.test import APIClient

from tests import factories
from voiceauth.errors import ScoringUnavailable

WORKER_START_SECONDS = 90


@pytest.fixture(autouse=True, scope="session")
def _the_trail_can_be_emptied_between_tests() -> Iterator[None]:
    """``transactional_db`` empties every table; only here may the trail's guard step aside."""
    original = DatabaseOperations.execute_sql_flush

    def flush(self: DatabaseOperations, sql_list: list[str]) -> None:
        table = "ALTER TABLE audit_auditevent"
        guards = ("audit_no_change", "audit_no_truncate")
        off = [f"{table} DISABLE TRIGGER {name}" for name in guards]
        on = [f"{table} ENABLE ALWAYS TRIGGER {name}" for name in guards]
        original(self, [*off, *sql_list, *on])

    DatabaseOperations.execute_sql_flush = flush  # type: ignore[method-assign]
    yield
    DatabaseOperations.execute_sql_flush = original  # type: ignore[method-assign]


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture
def teller(db: None) -> APIClient:
    return factories.api_client("teller")


@pytest.fixture
def ivr(db: None) -> APIClient:
    return factories.api_client("ivr")


@pytest.fixture
def reviewer(db: None) -> APIClient:
    return factories.api_client("reviewer")


@pytest.fixture
def admin(db: None) -> APIClient:
    return factories.api_client("admin")


@pytest.fixture(scope="session")
def celery_worker_process(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen]:
    """A real Celery worker on the queues ``scoring`` and ``maintenance``, bound to the test database.

    Use it with ``transactional_db``: the worker sees only what is committed.
    """
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "voiceauth", "worker", "--pool=solo", "--loglevel=INFO"]
    command += ["--queues=scoring,maintenance", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    environment = os.environ | {"DATABASE_URL": _test_database_url(), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parent.parent
        )
    try:
        _wait_until_it_answers(process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def _worker_log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    report = getattr(request.node, "failed_report", None)
    if report is not None and "celery_worker_process" in request.fixturenames:
        base = request.getfixturevalue("tmp_path_factory").getbasetemp()
        for log in base.glob("worker*/worker.log"):
            print(f"--- {log.name}, the last lines\n{log.read_text(errors='replace')[-8000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.failed_report = report  # type: ignore[attr-defined]
    return report


def _test_database_url() -> str:
    """The address of the test database, whose name pytest-django chose."""
    from urllib.parse import quote, urlencode

    from django.db import connection

    settings = connection.settings_dict
    user = quote(settings["USER"] or "")
    if settings["PASSWORD"]:
        user += ":" + quote(settings["PASSWORD"])
    address, query = "", ""
    if str(settings["HOST"]).startswith("/"):
        query = "?" + urlencode({"host": settings["HOST"]})
    else:
        address = f"{settings['HOST'] or 'localhost'}:{settings['PORT'] or 5432}"
    return f"postgresql://{user}@{address}/{settings['NAME']}{query}"


def _wait_until_it_answers(process: subprocess.Popen, log: Path) -> None:
    from mltraining import scoring_client

    deadline = time.monotonic() + WORKER_START_SECONDS
    while True:
        try:
            scoring_client.call("mltraining.ping", {}, deadline_seconds=2)
            return
        except ScoringUnavailable:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the worker does not answer:\n{log.read_text(errors='replace')[-8000:]}")
