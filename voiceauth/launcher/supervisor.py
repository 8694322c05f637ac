"""The foreground process of ``manage.py serve``: starts the parts, restarts what dies, stops all in order.

Each part is a child in a session of its own, so that Ctrl-C reaches only this process, which stops the parts in order:
web first (no new calls), then the workers (they finish what they hold, within a limit), then Redis. On Linux the kernel
also signals a child when this process is killed (PR_SET_PDEATHSIG). The parts write to ``log/<name>.log``; the terminal
shows only what a person needs.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between restarts, doubled each time
HEALTHY_AFTER = 60.0  # seconds after which a part counts as healthy and its pause starts over
LOG_LIMIT_BYTES = 20 * 1024 * 1024  # at start, a longer log is moved to <name>.log.1
TICK = 0.5

# Runs between fork and the part itself, in a Python that imports nothing: safer than preexec_fn.
TETHER = """
import ctypes, os, sys
parent, death_signal, nice = map(int, sys.argv[1:4])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
os.nice(nice)
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass
class Part:
    """One child process and how it is run and stopped."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    stage: int = 0  # the stages stop one after the other, from 0
    patience: float = 10.0  # seconds from SIGTERM to ``last_signal``, and from there to SIGKILL
    last_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGTERM  # what it gets where the supervisor is killed
    nice: int = 0
    stdin: bytes = b""  # what must not show in the list of processes

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause: float = FIRST_PAUSE

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs ``parts`` until SIGINT or SIGTERM. ``watch`` is called about twice a second."""

    def __init__(self, parts: Iterable[Part], *, log_folder: Path, say: Callable[[str], None]) -> None:
        self.parts = list(parts)
        self.log_folder = log_folder
        self.say = say
        self.stop_requests = 0
        self._wake_reader, self._wake_writer = os.pipe()

    def run(self, watch: Callable[[], None]) -> None:
        """Start the parts and restart those that die. Stop all when asked to, or when ``watch`` raises."""
        self._listen_for_signals()
        try:
            for part in self.parts:
                self._start(part)
            while not self.stop_requests:
                for part in self.parts:
                    self._restart_if_dead(part)
                watch()
                self._sleep(TICK)
        finally:
            self._stop_all()

    def _listen_for_signals(self) -> None:
        def request_stop(number: int, frame: object) -> None:
            self.stop_requests += 1

        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, request_stop)

    def _sleep(self, seconds: float) -> None:
        """Sleep; wake up earlier where a signal arrives."""
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):  # read empty already
                os.read(self._wake_reader, 4096)

    def _start(self, part: Part) -> None:
        tether = [sys.executable, "-ISc", TETHER, str(os.getpid()), str(int(part.death_signal)), str(part.nice)]
        with open(self.log_path(part), "ab", opener=_private) as log:
            part.process = subprocess.Popen(
                [*tether, *part.command],
                env=os.environ | part.environment,
                stdin=subprocess.PIPE if part.stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if part.process.stdin is not None:
            with suppress(BrokenPipeError), part.process.stdin as stdin:
                stdin.write(part.stdin)
        part.started_at = time.monotonic()

    def _restart_if_dead(self, part: Part) -> None:
        now = time.monotonic()
        if part.is_running:
            if now - part.started_at > HEALTHY_AFTER:
                part.pause = FIRST_PAUSE
        elif part.process is not None:
            code = part.process.returncode
            _signal_group(part.process.pid, signal.SIGKILL)  # what it may have left behind
            part.process = None
            part.restart_at = now + part.pause
            self.say(f"{part.name} ended with {_named(code)}; restarting in {part.pause:.0f} s. Last lines of its log:")
            for line in tail(self.log_path(part)):
                self.say(f"  {part.name} | {line}")
            part.pause = min(part.pause * 2, LONGEST_PAUSE)
        elif now >= part.restart_at:
            self._start(part)

    def _stop_all(self) -> None:
        family = psutil.Process().children(recursive=True)
        for stage in sorted({part.stage for part in self.parts}):
            running = [part for part in self.parts if part.stage == stage and part.is_running]
            if running:
                self.say("stopping " + ", ".join(part.name for part in running))
            self._stop(running)
        # A descendant may have left its session (a training process has one of its own).
        for process in psutil.wait_procs(family, timeout=2)[1]:
            with suppress(psutil.NoSuchProcess):  # it has ended by itself
                process.kill()

    def _stop(self, parts: list[Part]) -> None:
        """Send SIGTERM to each part, and in the end SIGKILL to its group. A second Ctrl-C skips the waiting."""
        asked = time.monotonic()
        for part in parts:
            _signal(part, signal.SIGTERM)
        impatient: set[str] = set()
        while waiting := [part for part in parts if part.is_running]:
            for part in waiting:
                waited = time.monotonic() - asked
                if self.stop_requests > 1 or waited > 2 * part.patience:
                    _signal(part, signal.SIGKILL)
                elif waited > part.patience and part.name not in impatient:
                    impatient.add(part.name)
                    _signal(part, part.last_signal)
            self._sleep(0.05)
        for part in parts:
            assert part.process is not None
            _signal_group(part.process.pid, signal.SIGKILL)

    def log_path(self, part: Part) -> Path:
        """Return the file that the part's output goes to."""
        return self.log_folder / f"{part.name}.log"


def rotate(folder: Path) -> None:
    """Rename logs that have grown long, so that new ones begin. One former log of each is kept."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > LOG_LIMIT_BYTES and path.stem != "postgres":
            path.replace(path.with_suffix(".log.1"))


def tail(path: Path, lines: int = 5) -> list[str]:
    """Return the last lines of a log."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def _private(path: str, flags: int) -> int:
    """Open a file that only we may read, also where it exists already with another mode."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def _named(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _signal(part: Part, number: signal.Signals) -> None:
    if part.process is not None and part.is_running:
        part.process.send_signal(number)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or (macOS) only zombies are left of it
        os.killpg(group, number)
