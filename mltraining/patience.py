"""Work that must survive a restart of the database."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0

T = TypeVar("T")


def patiently(work: Callable[[], T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
    """``work()``, tried again with growing pauses while the database does not answer.

    ``work`` may run twice where the answer to its commit was lost: it must bear that.
    """
    gives_up = time.monotonic() + patience_seconds
    pause = 0.2
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() + pause > gives_up:
                raise
            logger.warning("the database does not answer; trying again in %.1f s", pause)
            connection.close()
            time.sleep(pause)
            pause = min(pause * 2, 10.0)
