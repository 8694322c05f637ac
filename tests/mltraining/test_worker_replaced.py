"""A scoring worker that is told to stop beside another one: each call is answered, and in time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mltraining import worker_client
from tests.support.echo_tasks import WORK, Empty
from tests.support.waiting import until
from tests.support.workers import running_worker

pytestmark = pytest.mark.django_db  # the root key is in the database

DEADLINE_SECONDS = 2.0


@contextmanager
def calling(callers: int) -> Iterator[tuple[list[float], list[str]]]:
    """Callers without a pause: the seconds of each answer, and what each failure was."""
    answers, failures, over = list[float](), list[str](), threading.Event()

    def call_on() -> None:
        while not over.is_set():
            begun = time.monotonic()
            try:
                worker_client.call(WORK, Empty(), deadline_seconds=DEADLINE_SECONDS)
                answers.append(time.monotonic() - begun)
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=call_on) for _ in range(callers)]
    for each in threads:
        each.start()
    try:
        yield answers, failures
    finally:
        over.set()
        for each in threads:
            each.join()


@pytest.mark.parametrize("callers", [1, 6])  # who find a worker that waits for them; more than both answer at once
def test_no_call_is_lost_when_one_of_two_workers_is_told_to_stop(callers: int, tmp_path: Path) -> None:
    tasks = ["tests.support.echo_tasks"]
    with (
        running_worker(tmp_path / "old.log", "scoring", include=tasks) as old,
        running_worker(tmp_path / "new.log", "scoring", include=tasks),
        calling(callers) as (answers, failures),
    ):
        until(lambda: len(answers) > 20)
        old.stop()
        enough = len(answers) + 20
        until(lambda: len(answers) > enough)
    assert failures == []
