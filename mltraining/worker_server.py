"""The worker's side of ``worker_client``: unseal the question, carry it out, seal the answer."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from celery import Task, shared_task
from celery.signals import task_failure, worker_process_shutdown
from django.db import InterfaceError, OperationalError

from mltraining import deadlines, worker_client
from mltraining.deadlines import CallAbandoned
from mltraining.messages import Answer, Call, Failure, Question, Reply, encode
from voiceauth.platform import stages, tracing
from voiceauth.platform.errors import DatabaseUnavailable, DomainError, ScoringUnavailable
from voiceauth.platform.postgresql import preparing

logger = logging.getLogger(__name__)

OLDEST = 0.5  # of its deadline that a question may have waited in the queue
LEAST_WAIT_SECONDS = 1.0  # that it may have waited in any case

handlers: dict[str, Callable[[Any], Any]] = {}  # by the name of the task


def answers(
    call: Call[Question, Answer],
) -> Callable[[Callable[[Question], Answer]], Callable[[Question], Answer]]:
    """Decorate the function that answers ``call``: it becomes a Celery task of the scoring workers.

    A ``DomainError`` goes back to the caller as such, and a lost database as ``DatabaseUnavailable``. Any other
    exception is a bug: Celery logs it here, and the caller is told that scoring failed. What the caller does not wait
    for any more is given up.

    A question that has waited for ``OLDEST`` of its deadline is refused unread. Otherwise, once more comes in than can
    be answered, each answer would come a little too late and help nobody: of 3 calls a second, 0.5 were answered.
    """

    def decorate(function: Callable[[Question], Answer]) -> Callable[[Question], Answer]:
        def run(task: Task, deadline_seconds: float = 0.0) -> None:
            name, parent = call.task.partition(".")[2], task.request.get("traceparent") or ""
            with tracing.span(f"answer {name}", parent=parent), preparing():
                carry_out(task.request.id, deadline_seconds)

        def carry_out(call_id: str, deadline_seconds: float) -> None:
            taken = worker_client.question(call, call_id)
            if taken is None:
                return
            question, seconds = taken
            if deadline_seconds - seconds > max(OLDEST * deadline_seconds, LEAST_WAIT_SECONDS):
                worker_client.reply(call, call_id, _failed(ScoringUnavailable(retry_after_seconds=2)))
                return

            def extend(more: float) -> None:
                worker_client.reply(call, call_id, Reply(more_seconds=more))

            name = f"{call.task} {call_id}"
            try:
                with deadlines.caller_waits(seconds, extend), stages.recorded() as spent:
                    begun = time.perf_counter()
                    answer = _reply(function, question, name)
                    spent["worker"] = time.perf_counter() - begun
            except CallAbandoned:
                logger.warning("gave up %s: nobody waits for it any more", name)
                return
            worker_client.reply(call, call_id, replace(answer, stages=spent))

        run.__doc__ = function.__doc__
        handlers[call.task] = function
        shared_task(name=call.task, bind=True, ignore_result=True)(run)
        return function

    return decorate


def _reply(function: Callable[[Question], Answer], question: Question, name: str) -> Reply:
    try:
        return Reply(answer=encode(function(question)))
    except DomainError as error:
        return _failed(error)
    except (OperationalError, InterfaceError):
        logger.warning("the database did not answer during %s", name)
        return _failed(DatabaseUnavailable(retry_after_seconds=2))


def _failed(error: DomainError) -> Reply:
    return Reply(failure=Failure(code=error.code, status=error.status, message=error.detail, data=error.data))


@task_failure.connect
def _tell_the_caller(sender: Task, task_id: str, **_: Any) -> None:
    """Let the caller go. Celery sends this in the child for a bug, in the parent where the child was killed."""
    if sender.name in handlers:
        logger.error("ALARM scoring_failed: %s %s broke its worker", sender.name, task_id)
        worker_client.fail(task_id)


@worker_process_shutdown.connect
def _send_the_last_spans(**_: Any) -> None:
    """Send what a pool process has traced but not sent yet."""
    tracing.flush()
