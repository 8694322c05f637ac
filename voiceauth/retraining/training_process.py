"""The training program as a child process, followed by its progress lines.

A process of its own keeps a crash, a leak or a full GPU out of the worker. It never outlives the worker: the
kernel kills it when the worker dies (Linux), and everywhere it watches its parent itself.
"""

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from mltraining.speech.training.sealed import KEY_VARIABLE

TICK_SECONDS = 0.5
STOP_SECONDS = 1.5  # to stop by itself: whoever shuts us down waits little longer, and the last epoch is safe
PR_SET_PDEATHSIG = 1
STOPPED = 3  # the program's own exit status after SIGTERM
BUG = "internal_error"  # the program's own code for what it did not expect


@dataclass(frozen=True)
class Outcome:
    """How the program ended. ``stopped``: because we asked, or because something killed it.

    ``code`` and ``message``: why configuration or data were refused. Without any of these, it hit a bug.
    """

    succeeded: bool = False
    stopped: bool = False
    code: str = ""
    message: str = ""


def train(
    *,
    folder: Path,
    recipe: Path,
    overrides: Sequence[str],
    processes: int,
    data_key: bytes,
    on_event: Callable[[dict[str, Any]], None],
    keep_going: Callable[[], bool],
) -> Outcome:
    """Train on ``folder/data`` into ``folder/output``, or go on from the checkpoint that lies there.

    ``on_event`` gets each progress object, ``keep_going`` is asked at least every half second; False stops the
    program. With several ``processes``, one a GPU, torchrun starts them. ``data_key`` opens the recordings.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "mltraining.speech", "train"]
    # Relative to the run's folder: the resolved configuration, which is kept, tells nothing of this machine.
    command += ["--config", str(recipe), "--data-folder", "data", "--train-dataframe", "train.pq", "--output", "output"]
    command += ["--progress", "json", *(word for override in overrides for word in ("--set", override))]
    with (folder / "training.log").open("ab") as log:
        program = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment() | {KEY_VARIABLE: data_key.hex()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is the worker's to handle
            preexec_fn=partial(_die_with_parent, os.getpid()),
        )
    try:
        return _follow(program, on_event, keep_going)
    finally:
        _kill(program)


def _follow(
    program: "subprocess.Popen[bytes]", on_event: Callable[[dict[str, Any]], None], keep_going: Callable[[], bool]
) -> Outcome:
    assert program.stdout is not None
    events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(program.stdout, events), daemon=True).start()
    last_error: dict[str, Any] = {}
    while True:
        if not keep_going():
            _stop(program)
            return Outcome(stopped=True)
        with contextlib.suppress(queue.Empty):
            event = events.get(timeout=TICK_SECONDS)
            if event is None:
                break
            if event.get("event") == "error":
                last_error = event
            on_event(event)
    status = program.wait()
    if status == 0:
        return Outcome(succeeded=True)
    if status < 0 or status == STOPPED:
        return Outcome(stopped=True)
    code = str(last_error.get("code") or BUG)  # not by the status: torchrun has its own
    message = str(last_error.get("message") or f"The training program ended with status {status}.")
    return Outcome(code="" if code == BUG else code, message=message)


def _read(lines: IO[bytes], events: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    """Each line that is a JSON object; ``None`` at the end."""
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.put(event)
    events.put(None)


def _stop(program: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        program.terminate()
    ends = time.monotonic() + STOP_SECONDS
    while program.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)


def _kill(program: "subprocess.Popen[bytes]") -> None:
    """The program and whatever it started (its session is its own)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def _environment() -> dict[str, str]:
    """The library needs none of the service's secrets."""
    ours = ("VOICEAUTH_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(settings.BASE_DIR)}


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before we asked: the signal will never come
            os._exit(1)
