import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django import Settings

from mltraining import worker_client
from mltraining.errors import SilentAudio
from mltraining.messages import PING, Call, Failure, Ping, Pong, Reply, decode, encode
from tests.support.echo_tasks import (
    BUG,
    DIE,
    ECHO,
    ECHO_OF_ANOTHER_VERSION,
    ENDLESS,
    NOBODY_ANSWERS,
    REFUSE,
    SLOW,
    Empty,
    Word,
)
from tests.support.waiting import until
from tests.support.workers import Worker, running_worker
from voiceauth.celery import app
from voiceauth.platform import vault
from voiceauth.platform.errors import ScoringFailed, ScoringUnavailable

pytestmark = pytest.mark.django_db  # the root key is in the database

PATIENT = 60.0  # seconds: far more than an answer takes


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("log") / "scoring.log"
    with running_worker(log, "scoring", concurrency=2, include=["tests.support.echo_tasks"]) as worker:
        yield worker


def test_a_call_without_a_worker_ends_in_scoring_unavailable() -> None:
    with pytest.raises(ScoringUnavailable) as caught:
        worker_client.call(NOBODY_ANSWERS, Word("anyone?"), deadline_seconds=0.2)
    assert caught.value.data == {"retry_after_seconds": 2}


def test_a_call_while_redis_is_down_ends_in_scoring_unavailable(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(ScoringUnavailable):
        worker_client.call(ECHO, Word("anyone?"), deadline_seconds=PATIENT)


def test_neither_question_nor_message_shows_the_recording() -> None:
    worker_client.connection().delete("scoring")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(worker_client.call, NOBODY_ANSWERS, Word("MARKER"), deadline_seconds=2)
        questions = until(lambda: list(worker_client.connection().scan_iter("question:*")))
        messages = until(lambda: worker_client.connection().lrange("scoring", 0, -1))
        kept = [worker_client.connection().get(name) or b"" for name in questions]
    assert isinstance(call.exception(), ScoringUnavailable)
    assert all(b"MARKER" not in content for content in (*messages, *kept))
    assert any(len(content) > len(b"MARKER") for content in kept)


def test_a_call_ends_after_a_duration_and_not_at_a_moment_on_some_clock() -> None:
    """A moment would be compared with the worker's clock, which may be some seconds ahead of ours."""
    worker_client.connection().delete("scoring")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(worker_client.call, NOBODY_ANSWERS, Word("anyone?"), deadline_seconds=2)
        [message] = until(lambda: worker_client.connection().lrange("scoring", 0, -1))
        [question] = until(lambda: list(worker_client.connection().scan_iter("question:*")))
        assert 0 < worker_client.connection().pttl(question) <= 2000
    headers = json.loads(message)["headers"]
    assert headers["task"] == NOBODY_ANSWERS.task and headers["expires"] is None and headers["eta"] is None
    assert isinstance(call.exception(), ScoringUnavailable)


def test_a_call_that_nobody_waits_for_any_more_is_not_carried_out(worker: Worker) -> None:
    call_id = str(uuid.uuid4())
    app.send_task(DIE.task, task_id=call_id, queue="scoring", ignore_result=True)  # its question has expired
    assert worker_client.call(ECHO, Word("alive"), deadline_seconds=PATIENT) == Word("alive")
    until(lambda: f"Task {DIE.task}[{call_id}] succeeded" in worker.log_text())


def test_a_question_cannot_be_moved_to_another_call() -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    worker_client.connection().set(
        f"question:{other}", worker_client._seal(encode(Word("x")), f"question:tests.echo:{one}")
    )
    with pytest.raises(vault.Unsealable):
        worker_client.question(ECHO, other)


def test_calls_from_many_threads_each_get_their_own_answer(worker: Worker) -> None:
    def ask(word: str) -> str:
        return worker_client.call(ECHO, Word(word), deadline_seconds=PATIENT).word

    words = [f"word {number}" for number in range(100)]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, words)) == words


def test_what_the_worker_refuses_is_raised_at_the_caller_as_the_same_class(worker: Worker) -> None:
    with pytest.raises(SilentAudio) as caught:
        worker_client.call(REFUSE, Empty(), deadline_seconds=PATIENT)
    assert (caught.value.code, caught.value.status) == ("silent_audio", 422)
    assert caught.value.detail == "quiet as a mouse"
    assert caught.value.data == {"seconds": 3}


def test_a_code_that_only_the_worker_knows_arrives_with_its_status() -> None:
    error = worker_client._reported(Failure("brand_new", 418, "short and stout", {"spout": 1}))
    assert (error.code, error.status, error.detail, error.data) == ("brand_new", 418, "short and stout", {"spout": 1})


@pytest.mark.parametrize("failure", [BUG, DIE], ids=lambda call: call.task)
def test_a_question_that_breaks_or_kills_its_worker_is_final_and_an_alarm(
    worker: Worker, failure: Call[Empty, Empty]
) -> None:
    started = time.monotonic()
    with pytest.raises(ScoringFailed) as caught:
        worker_client.call(failure, Empty(), deadline_seconds=PATIENT)
    assert time.monotonic() < started + PATIENT  # told, and not timed out
    assert caught.value.status == 500 and "retry_after_seconds" not in caught.value.data
    until(lambda: f"ALARM scoring_failed: {failure.task}" in worker.log_text())
    # Another process has taken the place of the one that died.
    assert worker_client.call(ECHO, Word("alive"), deadline_seconds=PATIENT) == Word("alive")


def test_a_long_recording_is_waited_for_beyond_the_deadline(worker: Worker) -> None:
    assert worker_client.call(SLOW, Empty(), deadline_seconds=3.0) == Empty()


def test_a_worker_stops_what_nobody_waits_for_any_more(worker: Worker) -> None:
    for _ in range(4):  # twice as many as the worker has processes
        with pytest.raises(ScoringUnavailable):
            worker_client.call(ENDLESS, Empty(), deadline_seconds=1.0)
    until(lambda: f"gave up {ENDLESS.task}" in worker.log_text())
    assert worker_client.call(ECHO, Word("free"), deadline_seconds=PATIENT) == Word("free")


def test_a_question_that_has_waited_for_half_of_its_deadline_is_refused_unread(worker: Worker) -> None:
    call_id, left = str(uuid.uuid4()), 300_000  # milliseconds
    sealed = worker_client._seal(encode(Empty()), f"question:{DIE.task}:{call_id}")
    worker_client.connection().set(f"question:{call_id}", sealed, px=left)
    task = {"task_id": call_id, "queue": "scoring", "ignore_result": True}
    app.send_task(DIE.task, kwargs={"deadline_seconds": 1000}, **task)
    answer = worker_client._wait(call_id, time.monotonic() + PATIENT)
    reply = decode(worker_client._unseal(answer, f"answer:{DIE.task}:{call_id}"), Reply)
    assert reply.failure is not None and reply.failure.code == "scoring_unavailable"
    assert reply.failure.data == {"retry_after_seconds": 2}


def test_a_ping_is_answered_before_any_model_is_loaded(worker: Worker) -> None:
    assert worker_client.call(PING, Ping(), deadline_seconds=PATIENT) == Pong(models=())


def test_an_answer_of_another_version_of_the_messages_counts_as_no_answer(worker: Worker) -> None:
    with pytest.raises(ScoringUnavailable):
        worker_client.call(ECHO_OF_ANOTHER_VERSION, Word("new"), deadline_seconds=PATIENT)
