"""Calls from web processes to the scoring workers, answered within a deadline. Imports no torch.

A call is a question under a Redis key, a Celery message on the ``scoring`` queue that names it, and an answer:
a Redis list of one, on which the caller blocks. The recordings stay out of the messages because Celery encodes
and copies those several times. (Celery's own result backend could bring the answer, but its shared subscription
does not come back after a long Redis outage, and this needs to.) Both directions are sealed: neither the broker
nor its files ever hold a voice in the clear.
"""

import json
import logging
import time
import uuid
from functools import cache
from typing import Any

import redis
from django.conf import settings
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from voiceauth.celery import app
from voiceauth.platform import vault
from voiceauth.platform.errors import DomainError, ScoringUnavailable

logger = logging.getLogger(__name__)

SOCKET_SECONDS = 2.0  # connect, and each answer of Redis
PING_SECONDS = 1.0
ANSWER_LIFE_SECONDS = 60  # an answer that nobody waits for any more


def call(task_name: str, payload: dict[str, Any], *, deadline_seconds: float) -> dict[str, Any]:
    """The answer of the scoring task ``task_name`` to ``payload`` (JSON values).

    Raises ``ScoringUnavailable`` where no worker answers within ``deadline_seconds``, the queue is down or
    the worker dies, and the ``DomainError`` that the worker reports.
    """
    call_id = str(uuid.uuid4())
    ends = time.monotonic() + deadline_seconds
    try:
        packed = _pack(payload, f"question:{task_name}:{call_id}")
        connection().set(f"question:{call_id}", packed, px=int(deadline_seconds * 1000))
        app.send_task(
            task_name,
            task_id=call_id,
            queue="scoring",
            expires=deadline_seconds,  # nobody waits for it afterwards
            retry=False,
            ignore_result=True,
        )
        content = _unpack(_wait(call_id, ends), f"answer:{task_name}:{call_id}")
    except (OperationalError, redis.RedisError, OSError, vault.Unsealable) as error:
        logger.warning("scoring call %s %s failed: %s", task_name, call_id, type(error).__name__)
        raise ScoringUnavailable(retry_after_seconds=2) from error
    if "error" in content:
        raise _reported(**content["error"])
    return dict(content["result"])


def ping() -> None:
    """Raises ``ScoringUnavailable`` unless a worker answers within a second."""
    call("mltraining.ping", {}, deadline_seconds=PING_SECONDS)


def question(task_name: str, call_id: str) -> dict[str, Any] | None:
    """Worker-side: the payload of a call; ``None`` where its caller has stopped waiting."""
    packed: Any = connection().getdel(f"question:{call_id}")
    return None if packed is None else _unpack(packed, f"question:{task_name}:{call_id}")


def answer(task_name: str, call_id: str, content: dict[str, Any]) -> None:
    """Worker-side: hand ``{"result": …}`` or ``{"error": …}`` to the waiting caller."""
    _push(call_id, _pack(content, f"answer:{task_name}:{call_id}"))


def abandon(call_id: str) -> None:
    """Worker-side: there will be no answer; the caller need not wait for it."""
    _push(call_id, b"")


@cache
def connection() -> redis.Redis:
    """One pool of connections for the process; safe between threads."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=SOCKET_SECONDS,
        socket_timeout=SOCKET_SECONDS,
        retry=Retry(NoBackoff(), 1),  # a pooled connection from before a restart of Redis; the default waits seconds
    )


def _pack(content: dict[str, Any], context: str) -> bytes:
    return vault.seal(vault.derived_key("queue"), json.dumps(content).encode(), context)


def _unpack(packed: bytes, context: str) -> dict[str, Any]:
    return dict(json.loads(vault.unseal(vault.derived_key("queue"), packed, context)))


def _push(call_id: str, packed: bytes) -> None:
    key = f"answer:{call_id}"
    with connection().pipeline(transaction=True) as pipeline:
        pipeline.rpush(key, packed)
        pipeline.expire(key, ANSWER_LIFE_SECONDS)
        pipeline.execute()


def _wait(call_id: str, ends: float) -> bytes:
    while (remaining := ends - time.monotonic()) > 0:
        # Blocks for less than the socket's timeout, so that a dead connection shows.
        if reply := connection().blpop([f"answer:{call_id}"], timeout=max(0.01, min(remaining, SOCKET_SECONDS / 2))):
            packed: Any = reply[1]
            if not packed:
                break
            return bytes(packed)
    raise ScoringUnavailable(retry_after_seconds=2)


def _reported(code: str, status: int, message: str, data: dict[str, Any]) -> DomainError:
    """The worker's failure as the class it was raised as, where this process knows it."""
    known = {failure.code: failure for failure in _subclasses(DomainError)}
    failure = known.get(code) or type("ReportedError", (DomainError,), {"code": code, "status": status})
    return failure(message, **data)


def _subclasses(base: type[DomainError]) -> list[type[DomainError]]:
    return [each for child in base.__subclasses__() for each in (child, *_subclasses(child))]
