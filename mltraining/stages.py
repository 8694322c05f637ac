"""How long each stage of a call takes on a worker, for the metrics. Worker-side only."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def recorded() -> Iterator[dict[str, float]]:
    """Collect the seconds of each stage that is ``timed`` within the block."""
    found: dict[str, float] = {}
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the seconds of the block to ``stage``. Stages do not stand within each other."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        if (found := _current.get()) is not None:
            found[stage] = found.get(stage, 0.0) + time.perf_counter() - begun
