"""Failures that callers may see: one class a failure, its stable code and HTTP status on it.

The edge (``voiceauth.platform.api``) turns them into one error shape:
``{"error": {"code", "message", "data", "request_id"}}``.
"""

from typing import Any, ClassVar


class DomainError(Exception):
    """An expected failure. ``code`` is stable, ``message`` is for people, ``data`` for programs.

    A message may name its data, as ``str.format`` does: "At least {limit} s are needed."
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    message: ClassVar[str] = "The request cannot be carried out."
    audited: bool = True  # whether the refusal goes to the trail

    def __init__(self, message: str | None = None, **data: Any) -> None:
        self.detail = message or self.message.format(**data)
        self.data = data
        super().__init__(self.detail)


class NotFound(DomainError):
    """The object does not exist, or the caller may not know that it does."""

    code = "not_found"
    status = 404
    message = "There is no such object."


class Conflict(DomainError):
    """The object is in a state that does not allow the request."""

    code = "conflict"
    status = 409
    message = "The object is not in a state that allows this."


class ScoringUnavailable(DomainError):
    """No scoring worker answered within the deadline. Carries ``retry_after_seconds``."""

    code = "scoring_unavailable"
    status = 503
    message = "No scoring worker answered in time. Try again, or use another factor."


class ScoringFailed(DomainError):
    """The question broke the scoring worker, and would break the next one. So nobody is told to try again."""

    code = "scoring_failed"
    status = 500
    message = "Scoring failed on this recording. Do not send it again; use another factor."


class DatabaseUnavailable(DomainError):
    """The database is down or restarting. Carries ``retry_after_seconds``."""

    code = "database_unavailable"
    status = 503
    message = "The database does not answer. Try again shortly."
