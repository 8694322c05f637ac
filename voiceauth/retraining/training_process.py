"""The training program as a child process, followed by its progress lines.

A process of its own keeps a crash, a leak or a full GPU out of the worker. It never outlives the worker: on Linux the
kernel kills it when the worker dies, and on every system it watches its parent itself.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from mltraining.speech.config import Config
from mltraining.speech.training.sealed import KEY_VARIABLE
from voiceauth.platform.jobs.errors import GiveBack, JobFailed

TICK_SECONDS = 0.5
STOP_SECONDS = 1.5  # to stop by itself; whoever shuts us down waits little longer, and the last epoch is on disk
PR_SET_PDEATHSIG = 1
STOPPED = 3  # the program's own exit status after SIGTERM
BUG = "internal_error"  # the program's own code for what it did not expect


class TrainerBroke(RuntimeError):
    """The training program ended because of a bug. Its log has the trace."""


def train(
    *,
    folder: Path,
    config: Config,
    data_key: bytes,
    on_event: Callable[[dict[str, Any]], None],
    check: Callable[[], None],
) -> None:
    """Train on ``folder/data`` into ``folder/output``, or go on from the checkpoint that lies there.

    ``on_event`` gets each progress object; ``check`` is called at least every half second. An exception from either
    stops the program and is passed on. ``data_key`` (32 bytes) opens the recordings. With several GPUs, torchrun
    starts one process for each. Raises ``JobFailed`` where the program refuses the configuration or the data,
    ``GiveBack`` where something killed it, and ``TrainerBroke``.
    """
    processes = _processes(config)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    command = [sys.executable, *launcher, "-m", "mltraining.speech", "train"]
    # Relative to the run's folder: the configuration that the model keeps tells nothing of this machine.
    command += ["--config", "config.json", "--output", "output", "--progress", "json"]
    with (folder / "training.log").open("ab") as log:
        program = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment() | {KEY_VARIABLE: data_key.hex()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the worker to handle
            preexec_fn=partial(_die_with_parent, os.getpid()),
        )
    try:
        _follow(program, on_event, check)
    except BaseException:
        _stop(program)
        raise
    finally:
        _kill(program)


def _follow(
    program: "subprocess.Popen[bytes]", on_event: Callable[[dict[str, Any]], None], check: Callable[[], None]
) -> None:
    assert program.stdout is not None
    events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(program.stdout, events), daemon=True).start()
    last_error: dict[str, Any] = {}
    while True:
        check()
        with contextlib.suppress(queue.Empty):  # no news within a tick: check again
            event = events.get(timeout=TICK_SECONDS)
            if event is None:
                break
            if event.get("event") == "error":
                last_error = event
            on_event(event)
    status = program.wait()
    if status == 0:
        return
    if status < 0 or status == STOPPED:
        raise GiveBack("trainer_killed", lost=True)
    code = str(last_error.get("code") or BUG)  # not by the status: torchrun has its own
    message = str(last_error.get("message") or f"The training program ended with status {status}.")
    raise TrainerBroke(message) if code == BUG else JobFailed(code, message)


def _read(lines: IO[bytes], events: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    """Put each line that is a JSON object into ``events``, and ``None`` at the end."""
    for line in lines:
        with contextlib.suppress(ValueError):  # a library's own words, which are in the log too
            event = json.loads(line)
            if isinstance(event, dict):
                events.put(event)
    events.put(None)


def _stop(program: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        program.terminate()
    ends = time.monotonic() + STOP_SECONDS
    while program.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)


def _kill(program: "subprocess.Popen[bytes]") -> None:
    """Kill the program and whatever it started, which is in its session."""
    # It has ended by itself, or, on macOS, all that is left of the group are zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def _environment() -> dict[str, str]:
    """Return the environment without the service's secrets, which the library does not need."""
    ours = ("VOICEAUTH_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(settings.BASE_DIR)}


def _processes(config: Config) -> int:
    """Return one process for each GPU that the configuration names and that is there."""
    if len(config.environment.gpus) < 2:
        return 1
    import torch

    return max(1, min(len(config.environment.gpus), torch.cuda.device_count()))


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before we asked: the signal will never come
            os._exit(1)
