"""The real web server, as a process of its own, on the test's database and queue."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from tests.support.servers import _free_port
from tests.support.waiting import until
from tests.support.workers import database_url


@contextmanager
def running_web(folder: Path, **environment: str) -> Iterator[int]:
    """The port of a web server, which logs to ``web.log`` in ``folder``."""
    number, log = _free_port(), folder / "web.log"
    variables = os.environ | {
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "VOICEAUTH_BIND": f"127.0.0.1:{number}",
        "VOICEAUTH_DRAIN_SECONDS": "0",
        **environment,
    }
    command = [sys.executable, "-m", "voiceauth.launcher.web"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, cwd=settings.BASE_DIR)
    try:
        until(lambda: process.poll() is not None or log.read_text().count("Started worker-") == 2)
        yield number
    finally:
        process.terminate()
        process.wait(30)
        print(log.read_text())
