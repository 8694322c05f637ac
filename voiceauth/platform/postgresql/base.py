"""PostgreSQL as Django knows it, but statements can be prepared, and a server that only reads does not count.

After a failover, connections may stay with the old primary, which is now a read-only standby. Such a connection is
given up before its next use, and a write on it fails as a lost connection does: callers get 503, jobs wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import errors


class ErrorWrapper(DatabaseErrorWrapper):
    """Raises ``OperationalError`` in place of ``InternalError`` where the server refuses to write."""

    wrapper: "DatabaseWrapper"

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc_value, errors.ReadOnlySqlTransaction):
            self.wrapper.errors_occurred = True
            raise OperationalError(*exc_value.args).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Replaces connections to a server that only reads. Django asks ``is_usable`` once a request and once a task."""

    _prepares = False

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        """Return the context manager that turns psycopg's errors into Django's."""
        return ErrorWrapper(self)

    def is_usable(self) -> bool:
        """Return whether the server answers and takes writes."""
        if self.connection is None:
            return False
        try:
            with self.connection.cursor() as cursor:
                return cursor.execute("SHOW transaction_read_only").fetchone() == ("off",)
        except errors.Error:
            return False

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Let the server parse and plan each statement of the block once a connection, for all its values.

        It is for statements that are made often and find rows by their keys. A list that somebody narrows and searches
        is planned for what they ask.
        """
        before, self._prepares = self._prepares, True
        try:
            yield
        finally:
            self._prepares = before

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a cursor that sends values apart from the statement, and prepares it, where that was asked for."""
        self.connection.cursor_factory = base.ServerBindingCursor if self._prepares else base.Cursor
        return super().create_cursor(name)
