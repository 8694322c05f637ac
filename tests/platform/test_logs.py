"""What the formatter of all processes holds back."""

import gc
import json
import logging
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest
from celery import signals
from django.test import Client

from voiceauth.platform import apps, logs
from voiceauth.platform.logs import PrivateFormatter

SECRET = "zq-marker-4711"


def formatted(message: str, *args: object, name: str = "x", error: BaseException | None = None, **extra: object) -> str:
    """The line of a record, with the traceback of ``error``."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(name, logging.ERROR, "file.py", 1, message, args, exc_info)
    vars(record).update(extra)
    return PrivateFormatter("%(message)s").format(record)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_an_exception_is_logged_with_its_frames_and_types_and_without_messages() -> None:
    text = formatted("it broke", error=raised(KeyError(SECRET), cause=raised(ValueError(SECRET))))
    assert SECRET not in text
    assert text.count("in raised") == 2
    assert text.index("ValueError") < text.index("KeyError")


def test_an_error_of_the_database_is_told_by_its_code() -> None:
    error = psycopg.errors.UniqueViolation(f"Key (customer_id)=({SECRET}) already exists.")
    text = formatted("it broke", error=raised(error))
    assert SECRET not in text
    assert "UniqueViolation (SQLSTATE 23505)" in text


def test_an_error_that_leads_to_itself_ends() -> None:
    error = raised(ValueError(SECRET))
    error.__cause__ = error
    assert formatted("it broke", error=error).count("ValueError") == 1


def test_what_another_formatter_left_in_the_record_is_not_used() -> None:
    assert SECRET not in formatted("it broke", error=raised(ValueError()), exc_text=SECRET)


@pytest.mark.parametrize(("status", "is_traced"), [(400, False), (403, False), (500, True)])
def test_a_request_is_named_by_its_route_and_only_our_own_failures_are_traced(status: int, is_traced: bool) -> None:
    match = SimpleNamespace(route="api/v1/customers/<customer_id>")
    request = SimpleNamespace(method="GET", resolver_match=match, path=f"/api/v1/customers/{SECRET}")
    text = formatted(
        "Forbidden: %s", request.path, error=raised(PermissionError(SECRET)), request=request, status_code=status
    )
    assert SECRET not in text
    assert text.startswith(f"{status} GET /api/v1/customers/<customer_id>")
    assert ("Traceback" in text or "in raised" in text) == is_traced


def test_an_address_that_leads_nowhere_and_a_made_up_method_are_not_repeated() -> None:
    request = SimpleNamespace(method=SECRET, resolver_match=None, path=f"/{SECRET}")
    assert formatted("Not Found: %s", request.path, request=request, status_code=404) == (
        "404 unknown method /<unknown path>"
    )


def test_a_task_is_logged_without_its_result_and_its_error() -> None:
    data = {"name": "x.run", "id": "1", "return_value": SECRET, "runtime": 0.12345, "args": SECRET, "exc": SECRET}
    text = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
    assert formatted(text, data, name="celery.app.trace", data=data) == "Task x.run[1] succeeded in 0.123 s"
    data["description"] = "raised unexpected"
    text = formatted("Task: %(exc)s", data, name="celery.app.trace", data=data, error=raised(ValueError(SECRET)))
    assert SECRET not in text
    assert "raised unexpected" in text


@pytest.mark.parametrize("host", [f"{SECRET}.example", "testserver"])
def test_a_wrong_host_and_a_plain_403_write_one_line(
    db: None, host: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Client(enforce_csrf_checks=True).post(f"/admin/login/?next={SECRET}", {"field": SECRET}, HTTP_HOST=host)
    lines = [PrivateFormatter("%(message)s").format(record) for record in caplog.records]
    assert lines
    assert all("\n" not in line and SECRET not in line for line in lines)
    assert sys.exc_info() == (None, None, None)


@pytest.fixture
def hooks() -> Iterator[None]:
    """Install the hooks for one test."""
    kept = sys.excepthook, threading.excepthook, sys.unraisablehook
    logs.log_uncaught()
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = kept


@pytest.mark.usefixtures("hooks")
def test_an_error_that_a_thread_does_not_catch_goes_through_the_formatter(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=work, name="models")
    thread.start()
    thread.join()
    (record,) = caplog.records
    text = PrivateFormatter("%(message)s").format(record)
    assert "uncaught error in thread models" in text and "ValueError" in text and SECRET not in text


@pytest.mark.usefixtures("hooks")
def test_an_error_that_ends_the_process_goes_through_the_formatter(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    error = raised(ValueError(SECRET))
    sys.excepthook(type(error), error, error.__traceback__)
    (record,) = caplog.records
    text = PrivateFormatter("%(message)s").format(record)
    assert (record.levelname, "in raised" in text) == ("CRITICAL", True)
    assert SECRET not in text + capsys.readouterr().err


@pytest.mark.usefixtures("hooks")
def test_an_error_of_a_finalizer_goes_through_the_formatter(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    Broken()
    gc.collect()
    (record,) = caplog.records
    text = PrivateFormatter("%(message)s").format(record)
    assert "ValueError" in text and SECRET not in text


@pytest.mark.parametrize("start", [signals.worker_init, signals.beat_init])
def test_workers_and_the_schedule_log_what_nobody_catches(start: signals.Signal) -> None:
    assert apps._log_uncaught in start._live_receivers(None)
    kept = sys.excepthook, threading.excepthook, sys.unraisablehook
    try:
        apps._log_uncaught()
        assert threading.excepthook is not kept[1]
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = kept


def test_a_line_of_json_holds_the_ids_and_holds_back_what_the_text_does() -> None:
    formatter = logs.JsonFormatter("%(message)s")
    error = raised(ValueError(SECRET))
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "it %s", ("broke",), (ValueError, error, None))
    record.request_id, record.decision_id, record.score = "r-1", "d-1", SECRET
    line = formatter.format(record)
    assert "\n" not in line and SECRET not in line
    content = json.loads(line)
    assert set(content) == {"time", "level", "logger", "request_id", "decision_id", "message"}
    assert (content["level"], content["request_id"], content["decision_id"]) == ("ERROR", "r-1", "d-1")
    assert content["message"].startswith("it broke") and "ValueError" in content["message"]


def test_a_line_of_json_without_a_request_names_none() -> None:
    record = logging.LogRecord("x", logging.INFO, "f.py", 1, "ready", (), None)
    logs.RequestIdFilter().filter(record)
    assert "request_id" not in json.loads(logs.JsonFormatter("%(message)s").format(record))
