"""How long each stage of a request takes, in a web process and on a worker, for the metrics and the traces."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from voiceauth.platform import tracing

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
    """Add the seconds of the block to ``stage``, without those of stages within it, which count for themselves."""
    if (found := _current.get()) is None:
        yield
        return
    begun, counted = time.perf_counter(), sum(found.values())
    try:
        with tracing.span(stage):
            yield
    finally:
        within = sum(found.values()) - counted
        found[stage] = found.get(stage, 0.0) + time.perf_counter() - begun - within


def add(spent: Mapping[str, float]) -> None:
    """Add what another process spent on stages of this request."""
    if (found := _current.get()) is not None:
        for stage, seconds in spent.items():
            found[stage] = found.get(stage, 0.0) + seconds
