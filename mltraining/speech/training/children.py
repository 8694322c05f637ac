"""Child processes that prepare a run's data: forked, so that they inherit it, and ended with their parent."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent ends


def pool(workers: int, take: Callable[..., None], *given: Any) -> ProcessPoolExecutor:
    """Return a pool whose processes each begin with ``take(*given)``, which keeps what they work on."""
    return ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("fork"), _begin, (take, given))


def _begin(take: Callable[..., None], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the parent after its epoch
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    take(*given)
