"""How long the caller of a scoring worker still waits, for the code that answers it. Worker-side only.

Everything here is a duration: the clocks of two machines may differ. The deadline follows the length of the recording,
because a recording of two minutes cannot be heard as fast as one of five seconds. Work that nobody waits for stops at
the next ``check``, so that it takes no time from others.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

INCLUDED_SECONDS = 20.0  # of a recording, in the deadline that is set
SECONDS_A_SECOND = 0.1  # more for each further second: ten for the longest recording, of two minutes


class CallAbandoned(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class _Call:
    ends: float  # by this process's monotonic clock
    extend: Callable[[float], None]  # tells the caller to wait so many seconds longer


_current: ContextVar[_Call | None] = ContextVar("call", default=None)


@contextmanager
def caller_waits(seconds: float, extend: Callable[[float], None]) -> Iterator[None]:
    """Say how many seconds the caller waits from now on, and how it is told to wait longer."""
    token = _current.set(_Call(time.monotonic() + seconds, extend))
    try:
        yield
    finally:
        _current.reset(token)


def left() -> float | None:
    """Return the seconds that the caller still waits; ``None`` where nobody is in a hurry. Raises ``CallAbandoned``."""
    call = _current.get()
    if call is None:
        return None
    seconds = call.ends - time.monotonic()
    if seconds <= 0:
        raise CallAbandoned
    return seconds


def check() -> None:
    """Raise ``CallAbandoned`` where the caller has stopped waiting."""
    left()


def allow_for(recording_seconds: float) -> None:
    """Give the call the time that a recording of this length takes."""
    more = (recording_seconds - INCLUDED_SECONDS) * SECONDS_A_SECOND
    call = _current.get()
    if call is not None and more > 0:
        check()
        call.extend(more)
        call.ends += more
