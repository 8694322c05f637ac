"""PostgreSQL as Django knows it, but a server that only reads counts as one that does not answer.

After a failover, connections may stay with the old primary, which is now a read-only standby. Such a connection is
given up before its next use, and a write on it fails as a lost connection does: callers get 503, jobs wait.
"""

from types import TracebackType

from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import Cursor, errors


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

    def prepared_cursor(self) -> CursorWrapper:
        """Return a cursor for statements made often: the server parses and plans them once a connection."""
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._prepare_cursor(Cursor(self.connection))  # type: ignore[attr-defined]
