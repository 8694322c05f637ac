"""A real Celery worker, as a process of its own, on the test's database and queue."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection

from tests.support.waiting import until


class Worker:
    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> "Worker":
        until(lambda: " ready." in self.log_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log_text()
        return self

    def pool_process(self) -> psutil.Process:
        """The process that runs the tasks (of a worker with one)."""
        return psutil.Process(self.process.pid).children()[0]

    def kill(self) -> list[psutil.Process]:
        """``kill -9`` of the worker's main process; its descendants, which must go with it."""
        descendants = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        return descendants

    def stop(self) -> None:
        """SIGTERM: a warm shutdown."""
        self.process.terminate()
        self.process.wait(timeout=60)


@contextmanager
def running_worker(
    log: Path, queues: str, *, concurrency: int = 1, include: Sequence[str] = (), **environment: str
) -> Iterator[Worker]:
    """A worker on ``queues``; killed at the end if it still runs."""
    command = [sys.executable, "-m", "celery", "--app", "voiceauth", "worker", "--queues", queues]
    command += ["--concurrency", str(concurrency), "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    command += ["--hostname", f"{log.stem}@%h", *(word for name in include for word in ("--include", name))]
    variables = os.environ | {
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "VOICEAUTH_MODELS_DIR": str(settings.VOICEAUTH_MODELS_DIR),
        "VOICEAUTH_RUNS_DIR": str(settings.VOICEAUTH_RUNS_DIR),
        "VOICEAUTH_TRAINING_OVERRIDES": ",".join(settings.VOICEAUTH_TRAINING_OVERRIDES),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=variables, stdout=output, stderr=subprocess.STDOUT, cwd=settings.BASE_DIR
        )
    worker = Worker(process, log)
    try:
        yield worker.wait_until_ready()
    finally:
        if process.poll() is None:
            psutil.wait_procs(worker.kill(), timeout=30)


def database_url() -> str:
    """The test database's URL, wherever its server is."""
    values = connection.settings_dict
    user, password = quote(values["USER"] or "", safe=""), quote(values["PASSWORD"] or "", safe="")
    host, port = values["HOST"] or "", values["PORT"] or ""
    if host.startswith("/"):
        return f"postgresql://{user}:{password}@/{values['NAME']}?host={quote(host, safe='')}"
    return f"postgresql://{user}:{password}@{host}:{port}/{values['NAME']}"
