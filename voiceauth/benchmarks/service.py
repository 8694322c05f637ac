"""A service of one's own: every process that ``manage.py serve`` starts, in a temporary folder, gone at the end."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families

from voiceauth.launcher.embedded import PostgreSQL

START_SECONDS = 900.0  # on a machine that is busy otherwise
STOP_SECONDS = 60.0
STEP_SECONDS = 0.1  # between looks at whether it is ready
ROLES = ("teller", "ivr", "reviewer", "admin")

# Of a process, the words of its command line that tell which part it is.
PARTS = {
    "web": "voiceauth.launcher.web",
    "scoring": "scoring@",
    "training": "training@",
    "beat": "voiceauth beat",
    "redis": "redis-server",
}
DECODER = "mltraining.speech.audio.isolated"


class ServiceFailed(Exception):
    """The service did not start, or a command failed."""


@dataclass
class Usage:
    """Seconds of processor time, and bytes of memory (each process's share), by part."""

    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def since(self, before: "Usage") -> dict[str, float]:
        """Return the seconds of each part since then."""
        return {name: seconds - before.seconds.get(name, 0.0) for name, seconds in self.seconds.items()}


class Service:
    """A running service. ``token`` has a token for each of ``ROLES``; ``database`` is the URL of its PostgreSQL."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        self.port = self.entry = free_port()  # callers come in by ``entry``, which a restart puts elsewhere
        self.state = state
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = PostgreSQL(state).url
        ours = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "VOICEAUTH_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = {"VOICEAUTH_STATE_DIR": str(state), "VOICEAUTH_BIND": f"127.0.0.1:{self.port}"}
        with open(state / "said", "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=settings.BASE_DIR,
                env=inherited | own | environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.token: dict[str, str] = {}

    def wait_until_ready(self) -> None:
        """Wait for ``/readyz``. Raises ``ServiceFailed``."""
        ends = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > ends:
                raise ServiceFailed(f"The service did not start:\n{self.said()}")
            time.sleep(STEP_SECONDS)
        found = re.findall(r"^export (\w+)_TOKEN=(\S+)$", self.said(), re.MULTILINE)
        self.token |= {role.lower(): token for role, token in found}

    def is_ready(self) -> bool:
        """Whether the web server, the workers, the database and the queue answer."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def set_clock(self, part: str, seconds: int) -> None:
        """Put the clocks of the ``web`` or the ``worker`` processes ahead, where ``clock/sitecustomize.py`` is used."""
        draft = self.state / "clock.new"
        draft.write_text(f"{part} {seconds}")
        draft.replace(self.state / "clock")

    def said(self) -> str:
        """Return what the launcher has printed."""
        return (self.state / "said").read_text(errors="replace")

    def stop(self) -> None:
        """End every process of the service."""
        family = self.processes()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for each in psutil.wait_procs(family, timeout=5)[1]:
            each.kill()

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the service: the launcher, what it started, and PostgreSQL."""
        found: list[psutil.Process] = []
        for pid in (self.process.pid, self.postmaster()):
            try:
                process = psutil.Process(pid) if pid else None
                found += [process, *process.children(recursive=True)] if process else []
            except psutil.NoSuchProcess:
                continue
        return found

    def part(self, name: str) -> psutil.Process | None:
        """Return the main process of a part (``PARTS``), or ``postgresql``; ``None`` while it does not run."""
        if name == "postgresql":
            pid = self.postmaster()
            return psutil.Process(pid) if pid and psutil.pid_exists(pid) else None
        return next((each for each in self.processes() if PARTS[name] in _command(each)), None)

    def decoders(self) -> list[psutil.Process]:
        """Return the processes that decode recordings for the scoring processes."""
        return [each for each in self.processes() if DECODER in _command(each)]

    def postmaster(self) -> int | None:
        """Return the process id of PostgreSQL, or ``None``."""
        try:
            return int((self.state / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def usage(self) -> Usage:
        """Measure what the processes of each part have used so far."""
        main = {part.pid: name for name in (*PARTS, "postgresql") if (part := self.part(name)) is not None}
        usage = Usage()
        for each in self.processes():
            try:
                lineage = [each.pid, *(parent.pid for parent in each.parents())]
                times, memory = each.cpu_times(), each.memory_full_info().pss
            except psutil.Error:
                continue  # it has ended
            name = next((main[pid] for pid in lineage if pid in main), "launcher")
            ended = times.children_user + times.children_system  # of processes that it has outlived
            usage.seconds[name] = usage.seconds.get(name, 0.0) + times.user + times.system + ended
            usage.bytes[name] = usage.bytes.get(name, 0) + memory
        return usage

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample of ``/api/v1/metrics``, by its name and its sorted labels."""
        headers = {"Authorization": f"Bearer {self.token['admin']}"}
        text = httpx.get(f"{self.url}/api/v1/metrics", headers=headers, timeout=30).raise_for_status().text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute a statement on the service's database. Return its rows, if it has any."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def new_client(self, name: str, role: str) -> str:
        """Create a client of the API, and return its token."""
        made = self.command("create_api_client", name, "--role", role)
        found = re.search(rf"va_{role}_\S+", made.stdout)
        if found is None:
            raise ServiceFailed(f"The client {name} was not created:\n{made.stderr}")
        return found.group()

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of ``manage.py`` in the service's environment."""
        environment = psutil.Process(self.process.pid).environ()
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def running(**environment: str) -> Iterator[Service]:
    """Run a service, ready to answer, until the block ends. Raises ``ServiceFailed``."""
    with tempfile.TemporaryDirectory(prefix="voiceauth-bench-", ignore_cleanup_errors=True) as folder:
        service = Service(Path(folder), environment)
        try:
            service.wait_until_ready()
            yield service
        finally:
            service.stop()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
