"""Calls from web processes to the scoring workers, answered within a deadline. Imports no torch.

A call is a question under a Redis key, a Celery message on the ``scoring`` queue that names it, and an answer:
a Redis list of one element, on which the caller blocks. The recordings stay out of Celery's messages, because Celery
encodes and copies those several times. (Celery's own result backend could bring the answer, but its shared
subscription does not come back after a long Redis outage, and this must.) Both directions are sealed: neither the
broker nor its files ever hold a voice in the clear.
"""

import logging
import time
import uuid
from typing import Any

import msgspec
import redis
from kombu.exceptions import OperationalError

from mltraining.messages import PING, Answer, Call, Failure, Ping, Question, Reply, decode, encode
from voiceauth.celery import app
from voiceauth.platform import metrics, stages, tracing, vault
from voiceauth.platform.errors import DomainError, ScoringFailed, ScoringUnavailable
from voiceauth.platform.redis import connection as shared_connection

logger = logging.getLogger(__name__)

SOCKET_SECONDS = 2.0  # to connect, and for each answer of Redis
PING_SECONDS = 1.0
ANSWER_LIFE_SECONDS = 60  # of an answer that nobody waits for any more


def call(kind: Call[Question, Answer], question: Question, *, deadline_seconds: float) -> Answer:
    """Ask a scoring worker ``question`` and return its answer.

    The worker may prolong the deadline once, for a long recording. Raises ``ScoringUnavailable`` where no worker
    answers within it, the queue is down, or the worker speaks another version of the messages; ``ScoringFailed`` where
    the question broke the worker; and the ``DomainError`` that the worker reports.
    """
    begun, name = time.monotonic(), kind.task.partition(".")[2]
    outcome = ScoringUnavailable.code
    try:
        with tracing.span(f"ask {name}"):
            reply = _ask(kind, question, deadline_seconds)
        seconds = time.monotonic() - begun
        waiting = {"round_trip": seconds, "waiting": seconds - reply.stages.get("worker", seconds)}
        for stage, spent in (reply.stages | waiting).items():
            metrics.STAGE_SECONDS.labels(name, stage).observe(spent)
        stages.add(_exclusive(reply.stages, seconds))
        outcome = reply.failure.code if reply.failure else "answered"
        if reply.failure is not None:
            raise _reported(reply.failure)
        return decode(reply.answer, kind.answer)
    except ScoringFailed:
        outcome = ScoringFailed.code
        raise
    except (OperationalError, redis.RedisError, OSError, vault.Unsealable, msgspec.DecodeError) as error:
        logger.warning("scoring call %s failed: %s", kind.task, type(error).__name__)
        raise ScoringUnavailable(retry_after_seconds=2) from error
    finally:
        metrics.SCORING_CALLS.labels(name, outcome).inc()


def _exclusive(spent: dict[str, float], round_trip: float) -> dict[str, float]:
    """Return the stages of a question so that they add up to its ``round_trip``: ``queue``, and the worker's own."""
    worker = spent.get("worker", round_trip)
    inside = {stage: seconds for stage, seconds in spent.items() if stage != "worker"}
    return inside | {"queue": round_trip - worker, "worker": worker - sum(inside.values())}


def ping() -> None:
    """Raise ``ScoringUnavailable`` unless a worker answers within a second."""
    call(PING, Ping(), deadline_seconds=PING_SECONDS)


def _ask(kind: Call[Question, Answer], question: Question, deadline_seconds: float) -> Reply:
    """Send a question and wait for the reply."""
    call_id = str(uuid.uuid4())
    ends = time.monotonic() + deadline_seconds
    sealed = _seal(encode(question), f"question:{kind.task}:{call_id}")
    connection().set(f"question:{call_id}", sealed, px=int(deadline_seconds * 1000))
    app.send_task(
        kind.task,
        task_id=call_id,
        kwargs={"deadline_seconds": deadline_seconds},
        queue="scoring",  # without ``expires``, a moment on the worker's clock: the question expires in Redis
        retry=False,
        ignore_result=True,
        headers={"traceparent": tracing.carried()},
    )
    reply = decode(_unseal(_wait(call_id, ends), f"answer:{kind.task}:{call_id}"), Reply)
    if reply.more_seconds:
        ends += reply.more_seconds
        reply = decode(_unseal(_wait(call_id, ends), f"answer:{kind.task}:{call_id}"), Reply)
    return reply


def question(kind: Call[Question, Answer], call_id: str) -> tuple[Question, float] | None:
    """Take the question of a call, on the worker's side, and the seconds that its caller still waits.

    ``None`` where the caller has stopped waiting. The seconds are those that Redis would have kept the question.
    """
    with connection().pipeline(transaction=True) as pipeline:
        pipeline.pttl(f"question:{call_id}")
        pipeline.getdel(f"question:{call_id}")
        milliseconds, sealed = pipeline.execute()
    if sealed is None:
        return None
    return decode(_unseal(sealed, f"question:{kind.task}:{call_id}"), kind.question), milliseconds / 1000


def reply(kind: Call[Question, Answer], call_id: str, content: Reply) -> None:
    """Hand the reply to the waiting caller, on the worker's side."""
    _push(call_id, _seal(encode(content), f"answer:{kind.task}:{call_id}"))


def fail(call_id: str) -> None:
    """Tell the caller, on the worker's side, that its question broke the worker."""
    _push(call_id, b"")


def connection() -> redis.Redis:
    """Return this process's connections to Redis."""
    return shared_connection(SOCKET_SECONDS)


def _seal(content: bytes, context: str) -> bytes:
    return vault.seal(vault.derived_key("queue"), content, context)


def _unseal(sealed: bytes, context: str) -> bytes:
    return vault.unseal(vault.derived_key("queue"), sealed, context)


def _push(call_id: str, sealed: bytes) -> None:
    key = f"answer:{call_id}"
    with connection().pipeline(transaction=True) as pipeline:
        pipeline.rpush(key, sealed)
        pipeline.expire(key, ANSWER_LIFE_SECONDS)
        pipeline.execute()


def _wait(call_id: str, ends: float) -> bytes:
    while (remaining := ends - time.monotonic()) > 0:
        # Blocks for less than the socket's timeout, so that a dead connection shows.
        if popped := connection().blpop([f"answer:{call_id}"], timeout=max(0.01, min(remaining, SOCKET_SECONDS / 2))):
            sealed: Any = popped[1]
            if not sealed:
                raise ScoringFailed
            return bytes(sealed)
    raise ScoringUnavailable(retry_after_seconds=2)


def _reported(failure: Failure) -> DomainError:
    """Build the worker's failure as the class it was raised as, where this process knows it."""
    known = {each.code: each for each in _subclasses(DomainError)}
    kind = known.get(failure.code) or type(
        "ReportedError", (DomainError,), {"code": failure.code, "status": failure.status}
    )
    return kind(failure.message, **failure.data)


def _subclasses(base: type[DomainError]) -> list[type[DomainError]]:
    return [each for child in base.__subclasses__() for each in (child, *_subclasses(child))]
