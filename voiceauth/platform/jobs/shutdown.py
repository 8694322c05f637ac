"""Whether this worker was asked to stop. Long work looks here, ends early, and is taken up again later."""

import mmap
from typing import Any

from celery.signals import worker_shutting_down

# Celery tells the worker's main process only; this byte is shared with the pool processes forked from it.
_asked = mmap.mmap(-1, 1)


def in_progress() -> bool:
    """Return whether the worker shuts down."""
    return bool(_asked[0])


@worker_shutting_down.connect
def _note(**_: Any) -> None:
    _asked[0] = 1
