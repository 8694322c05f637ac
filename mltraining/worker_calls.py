"""The worker's side of ``scoring_client``: unseal the question, carry it out, seal the answer."""

import logging
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from celery.signals import task_failure
from django.db import InterfaceError, OperationalError

from mltraining import scoring_client
from voiceauth.platform.errors import DatabaseUnavailable, DomainError

logger = logging.getLogger(__name__)

Call = Callable[[dict[str, Any]], dict[str, Any]]

_names: set[str] = set()


def scoring_task(name: str) -> Callable[[Call], Task]:
    """Decorator: ``function(payload) -> result`` (JSON values) becomes the Celery task ``name``.

    A ``DomainError`` goes back to the caller as such; a lost database as ``DatabaseUnavailable``; any other
    exception is a bug, logged here, and the caller is told that scoring is unavailable.
    """

    def decorate(function: Call) -> Task:
        def run(task: Task) -> None:
            call_id = task.request.id
            payload = scoring_client.question(name, call_id)
            if payload is None:
                return
            try:
                content: dict[str, Any] = {"result": function(payload)}
            except DomainError as error:
                content = _error(error)
            except (OperationalError, InterfaceError):
                logger.warning("the database did not answer during %s %s", name, call_id)
                content = _error(DatabaseUnavailable(retry_after_seconds=2))
            scoring_client.answer(name, call_id, content)

        run.__doc__ = function.__doc__
        _names.add(name)
        return shared_task(name=name, bind=True, queue="scoring", ignore_result=True)(run)

    return decorate


def _error(error: DomainError) -> dict[str, Any]:
    return {"error": {"code": error.code, "status": error.status, "message": error.detail, "data": error.data}}


@task_failure.connect
def _tell_the_caller(sender: Task, task_id: str, **_: Any) -> None:
    """Sent in the child for a bug, in the parent where the child was killed: the caller need not wait on."""
    if sender.name in _names:
        scoring_client.abandon(task_id)
