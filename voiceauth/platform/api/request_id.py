"""The id of the request at hand, for the logs. Imports no model: logging is set up before the apps are."""

import logging
from contextvars import ContextVar

current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Adds ``request_id`` to every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs refusals with their request, after the middleware is done with it.
        record.request_id = getattr(getattr(record, "request", None), "request_id", current.get())
        return True
