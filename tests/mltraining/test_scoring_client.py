import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mltraining import scoring_client
from mltraining.errors import SilentAudio
from tests.mltraining.workers import Worker, running_worker, until
from voiceauth.platform import vault
from voiceauth.platform.errors import ScoringUnavailable

pytestmark = pytest.mark.usefixtures("django_db_setup")  # the root key is in the database

PATIENT = 60.0  # seconds: far more than an answer takes


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("log") / "scoring.log"
    with running_worker(log, "scoring", concurrency=2, include=["tests.mltraining.echo_tasks"]) as worker:
        yield worker


def test_a_call_without_a_worker_ends_in_scoring_unavailable() -> None:
    with pytest.raises(ScoringUnavailable) as caught:
        scoring_client.call("tests.nobody_answers_this", {}, deadline_seconds=0.2)
    assert caught.value.data == {"retry_after_seconds": 2}


def test_a_call_while_redis_is_down_ends_in_scoring_unavailable(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    scoring_client.connection.cache_clear()
    try:
        with pytest.raises(ScoringUnavailable):
            scoring_client.call("tests.echo", {"word": "anyone?"}, deadline_seconds=PATIENT)
    finally:
        scoring_client.connection.cache_clear()


def test_neither_question_nor_message_shows_the_recording() -> None:
    scoring_client.connection().delete("scoring")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(scoring_client.call, "tests.unanswered", {"audio": "MARKER"}, deadline_seconds=2)
        questions = until(lambda: list(scoring_client.connection().scan_iter("question:*")))
        messages = until(lambda: scoring_client.connection().lrange("scoring", 0, -1))
        kept = [scoring_client.connection().get(name) or b"" for name in questions]
    assert isinstance(call.exception(), ScoringUnavailable)
    assert all(b"MARKER" not in content for content in (*messages, *kept))
    assert any(len(content) > len(b"MARKER") for content in kept)


def test_a_question_cannot_be_moved_to_another_call() -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    scoring_client.connection().set(f"question:{other}", scoring_client._pack({}, f"question:tests.echo:{one}"))
    with pytest.raises(vault.Unsealable):
        scoring_client.question("tests.echo", other)


def test_calls_from_many_threads_each_get_their_own_answer(worker: Worker) -> None:
    def ask(word: str) -> str:
        return scoring_client.call("tests.echo", {"word": word}, deadline_seconds=PATIENT)["echo"]

    words = [f"word {number}" for number in range(100)]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, words)) == words


def test_what_the_worker_refuses_is_raised_at_the_caller_as_the_same_class(worker: Worker) -> None:
    with pytest.raises(SilentAudio) as caught:
        scoring_client.call("tests.refuse", {}, deadline_seconds=PATIENT)
    assert (caught.value.code, caught.value.status) == ("silent_audio", 422)
    assert caught.value.detail == "quiet as a mouse"
    assert caught.value.data == {"seconds": 3}


def test_a_code_that_only_the_worker_knows_arrives_with_its_status() -> None:
    error = scoring_client._reported(code="brand_new", status=418, message="short and stout", data={"spout": 1})
    assert (error.code, error.status, error.detail, error.data) == ("brand_new", 418, "short and stout", {"spout": 1})


@pytest.mark.parametrize("failure", ["tests.bug", "tests.die"])
def test_a_worker_that_breaks_or_is_killed_lets_its_caller_go_at_once(worker: Worker, failure: str) -> None:
    started = time.monotonic()
    with pytest.raises(ScoringUnavailable):
        scoring_client.call(failure, {}, deadline_seconds=PATIENT)
    assert time.monotonic() < started + PATIENT  # told, and not timed out
    # Another process has taken the place of the one that died.
    assert scoring_client.call("tests.echo", {"word": "alive"}, deadline_seconds=PATIENT) == {"echo": "alive"}


def test_a_ping_is_answered_before_any_model_is_loaded(worker: Worker) -> None:
    assert scoring_client.call("mltraining.ping", {}, deadline_seconds=PATIENT) == {"models": []}
