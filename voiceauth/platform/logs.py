"""Logs without personal data: no customer identifier, name, score or content of a row, whatever goes wrong.

All processes (web, workers, beat) write through ``PrivateFormatter``. It holds back the three places where a library
would print what a caller sent: the path of a request, the result of a task and the message of an exception.
Imports nothing of ours: logging is set up before anything else.
"""

import copy
import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeAlias

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

IDS = ("request_id", "decision_id")  # that a record may carry

request_id: ContextVar[str] = ContextVar("request_id", default="-")


def configuration(*, level: str, private: bool = True, as_json: bool = False) -> dict[str, Any]:
    """Return the ``logging.config`` dictionary of every process. With ``private=False`` nothing is held back.
    Otherwise each line may be a JSON object, which holds back what the text does.
    """
    line = {
        "()": "voiceauth.platform.logs.PrivateFormatter" if private else "logging.Formatter",
        "fmt": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
    }
    if private and as_json:
        line = {"()": "voiceauth.platform.logs.JsonFormatter", "fmt": "%(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": "voiceauth.platform.logs.RequestIdFilter"}},
        "formatters": {"line": line},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request"]}},
        "loggers": {
            "_granian": {"level": "INFO"},  # the web server's
            "authlib": {"level": "INFO"},  # below, it would print what proves a sign-in its own
        },
        "root": {"handlers": ["stderr"], "level": level},
    }


def log_uncaught() -> None:
    """Send what nobody catches to the log, in a process whose standard error is a log file.

    The interpreter would print the messages of such errors itself: of a thread, of an object's finalizer, and of the
    process.
    """
    logger = logging.getLogger(__name__)

    def of_process(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, frames)
        else:
            logger.critical("uncaught error", exc_info=(kind, error, frames))

    def of_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            name = hook.thread.name if hook.thread else "unknown"
            logger.error("uncaught error in thread %s", name, exc_info=hook.exc_value)

    def of_finalizer(hook: "sys.UnraisableHookArgs") -> None:
        logger.error("uncaught error in a finalizer", exc_info=hook.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_process, of_thread, of_finalizer


class RequestIdFilter(logging.Filter):
    """Add ``request_id`` to every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        # Django logs refusals with their request, after the middleware is done with it.
        record.request_id = getattr(getattr(record, "request", None), "request_id", request_id.get())
        return True


class PrivateFormatter(logging.Formatter):
    """Format a record without the path of a request, the result of a task and the message of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the traceback of what is our fault."""
        kept = copy.copy(record)
        kept.exc_text = None  # another handler's formatter may have left its own there
        if (request := getattr(record, "request", None)) is not None:
            _describe_request(kept, request)
        elif isinstance(task := getattr(record, "data", None), Mapping) and record.name.startswith("celery."):
            _describe_task(kept, task)
        return super().format(kept)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  logging's name
        """Return the traceback and the types of the exceptions, of the whole chain, without their messages.

        PostgreSQL puts the contents of rows into its messages, and many others repeat the value that they refuse.
        """
        lines: list[str] = []
        for error in reversed(list(_chain(ei[1]))):
            lines += [*traceback.format_tb(error.__traceback__), f"{_described(error)}\n"]
        return "".join(lines).rstrip("\n")


class JsonFormatter(PrivateFormatter):
    """Write a record as a JSON object on one line, with the ids that it carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object. ``message`` ends with the traceback of what is our fault."""
        moment = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        content = {"time": moment, "level": record.levelname, "logger": record.name}
        content |= {name: getattr(record, name) for name in IDS if getattr(record, name, "-") != "-"}
        return json.dumps(content | {"message": super().format(record)}, ensure_ascii=False)


def _describe_request(record: logging.LogRecord, request: Any) -> None:
    """Name the route in place of the path. A refusal needs no traceback; its code is in the audit trail."""
    status = getattr(record, "status_code", 500)
    match = getattr(request, "resolver_match", None)
    method = request.method if request.method in METHODS else "unknown method"
    error = record.exc_info[1] if record.exc_info else None
    record.msg = f"{status} {method} /{match.route if match else '<unknown path>'}"
    record.args = None
    if status < 500:
        record.msg += f" ({type(error).__name__})" if error is not None else ""
        record.exc_info = None


def _describe_task(record: logging.LogRecord, task: Mapping[str, Any]) -> None:
    """Leave out a task's arguments, result and exception message."""
    words = f"{task.get('description') or 'succeeded'}"
    took = f" in {task['runtime']:.3f} s" if isinstance(task.get("runtime"), float) else ""
    record.msg, record.args = f"Task {task.get('name')}[{task.get('id')}] {words}{took}", None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and what led to it, the last one first, as Python prints them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _described(error: BaseException) -> str:
    """Return the exception's type, and what PostgreSQL's errors say without a row's content."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    sqlstate = getattr(error, "sqlstate", None)
    constraint = getattr(getattr(error, "diag", None), "constraint_name", None)
    known = ", ".join(filter(None, [sqlstate and f"SQLSTATE {sqlstate}", constraint and f"constraint {constraint}"]))
    return f"{name} ({known})" if known else name
