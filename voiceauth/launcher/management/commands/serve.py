"""``manage.py serve``: the whole service in one foreground process."""

import fcntl
import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from voiceauth.launcher import embedded, parts, supervisor
from voiceauth.platform import env

PORT_SECONDS = 15.0  # how long a service that was killed may take to let go of the port
SLOW_START_SECONDS = 60.0
DATABASE_CHECK_SECONDS = 2.0


class Command(BaseCommand):
    help = "Run the service: database, queue, web server, workers and schedule. Ctrl-C stops all of it."
    requires_system_checks = ()  # migrate runs them

    def handle(self, *args: Any, **options: Any) -> None:
        self.begun = time.monotonic()
        state: Path = settings.STATE_DIR
        bind = parts.bind_address()
        for name in ("run", "log"):
            (state / name).mkdir(parents=True, exist_ok=True)
        with _alone(state):
            url_file = state / "run" / "redis.url"
            _wait_for_port(bind, patience=PORT_SECONDS if url_file.exists() else 0)
            url_file.unlink(missing_ok=True)
            supervisor.rotate(state / "log")
            # Until the supervisor takes over, SIGTERM ends us as Ctrl-C does, so that PostgreSQL is left properly.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                self._serve(state, bind, url_file)
            except KeyboardInterrupt:
                pass
            finally:
                url_file.unlink(missing_ok=True)
        self.say("stopped")

    def _serve(self, state: Path, bind: str, url_file: Path) -> None:
        os.environ.setdefault("VOICEAUTH_DRAIN_SECONDS", "0")  # nobody else could take the calls
        services = [parts.scoring_part(), parts.training_part(), parts.beat_part(), parts.web_part()]
        if not env.text("REDIS_URL"):
            redis, os.environ["REDIS_URL"] = parts.redis_part()
            services.insert(0, redis)
            url_file.touch(mode=0o600)
            url_file.write_text(os.environ["REDIS_URL"])
        self.say("preparing the database")
        call_command("migrate", verbosity=0, interactive=False)
        call_command("bootstrap")
        connections.close_all()

        self.say(f"starting {', '.join(part.name for part in services)} (logs: {_short(state / 'log')})")
        watch = Watch(self, bind, embedded.server(state))
        supervisor.Supervisor(services, log_folder=state / "log", say=self.say).run(watch)

    def say(self, message: str) -> None:
        """Print a message with the time of day."""
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {message}")
        self.stdout.flush()


class Watch:
    """What the supervisor looks at besides its children: readiness at first, then the embedded database."""

    def __init__(self, command: Command, bind: str, database: embedded.PostgreSQL) -> None:
        host, self.port = _address(bind)
        self.host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104  we bind nothing here
        self.command = command
        self.base = f"http://{self.host}:{self.port}"
        self.database = database
        self.is_ready = self.was_slow = False
        self.database_due = 0.0

    def __call__(self) -> None:
        if not self.is_ready:
            self._look_for_readiness()
        if self.database.is_joined and time.monotonic() >= self.database_due:
            self.database_due = time.monotonic() + DATABASE_CHECK_SECONDS
            self._keep_database()

    def _look_for_readiness(self) -> None:
        if not self._answers():
            seconds = time.monotonic() - self.command.begun
            if seconds > SLOW_START_SECONDS and not self.was_slow:
                self.was_slow = True
                self.command.say(f"not ready after {seconds:.0f} s: see {self.base}/readyz and the logs")
            return
        self.is_ready = True
        self.command.say(f"ready after {time.monotonic() - self.command.begun:.1f} s. Ctrl-C stops everything.")
        for name, path in ADDRESSES:
            self.command.stdout.write(f"    {name:<12}{self.base}{path}")
        self.command.stdout.flush()

    def _answers(self) -> bool:
        hosts = settings.ALLOWED_HOSTS
        headers = {} if {self.host, "*"} & set(hosts) or not hosts else {"Host": hosts[0].lstrip(".")}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=3)
        try:
            connection.request("GET", "/readyz", headers=headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _keep_database(self) -> None:
        if self.database.is_running():
            return
        self.command.say("PostgreSQL is gone; starting it again")
        try:
            self.database.join()
        except embedded.EmbeddedError as error:
            self.command.say(str(error))
        else:
            self.command.say("PostgreSQL runs again")


ADDRESSES = [
    ("API", "/api/v1"),
    ("API docs", "/api/docs"),
    ("dashboard", "/admin/"),
    ("try it", "/try"),
    ("health", "/readyz"),
]


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the lock that lets one ``serve`` run in a state folder. Raises ``CommandError``."""
    with open(state / "run" / "serve.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"The service runs already in {_short(state)}: stop it there first (Ctrl-C).") from None
        yield


def _address(bind: str) -> tuple[str, int]:
    try:
        return parts.host_and_port(bind)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error


def _wait_for_port(bind: str, *, patience: float) -> None:
    """Wait for a service that was just killed to let go of the port.

    Raises ``CommandError`` where the port is taken after ``patience`` seconds.
    """
    host, port = _address(bind)
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Cannot listen on {bind} ({os.strerror(error.errno or 0)}): set VOICEAUTH_BIND, for example "
                    f"VOICEAUTH_BIND=127.0.0.1:{min(port + 1, 65535)} make run"
                ) from error
            time.sleep(0.2)


def _short(path: Path) -> Path:
    """Return the path as a person in this folder would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
