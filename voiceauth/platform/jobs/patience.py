"""Work that must survive a restart of the database."""

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 10.0

P = ParamSpec("P")
T = TypeVar("T")


def patiently(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``work(*args, **kwargs)``, tried again with growing pauses while the database does not answer.

    ``work`` runs a second time where the answer to its commit was lost, so it must bear being repeated. Raises
    ``OperationalError`` or ``InterfaceError`` after ``PATIENCE_SECONDS``, or at once inside a transaction.
    """
    gives_up = time.monotonic() + PATIENCE_SECONDS
    pause = 0.2
    while True:
        try:
            return work(*args, **kwargs)
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() + pause > gives_up:
                raise
            logger.warning("the database does not answer; trying again in %.1f s", pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
