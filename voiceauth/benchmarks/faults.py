"""What may break while callers call: processes that are killed or paused, servers that crawl, a full disk, poison, a
database that fails over, and clocks that differ.
"""

import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from voiceauth.benchmarks.poison import Sender
from voiceauth.benchmarks.service import Service
from voiceauth.launcher.embedded import PostgreSQL

REPLICA_PORT = 5433
CLOCK = Path(__file__).parent / "clock"  # on the ``PYTHONPATH`` of a service, it lets ``Service.set_clock`` work
CRAWL_STOPPED_SECONDS, CRAWL_RUNNING_SECONDS = 0.15, 0.05

Strike = Callable[[Service], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """Something that breaks: it lasts as long as the block of ``strike`` does, and is over after that."""

    name: str
    strike: Strike
    lasts: bool  # or it happens once
    prepare: Callable[[Service], None] = lambda service: None  # before it strikes


def _killed(find: Callable[[Service], list[psutil.Process]]) -> Strike:
    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        for process in find(service):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        yield

    return strike


def _paused(find: Callable[[Service], list[psutil.Process]]) -> Strike:
    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        processes = find(service)
        _signal(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(processes, signal.SIGCONT)

    return strike


def _crawling(find: Callable[[Service], list[psutil.Process]]) -> Strike:
    """Let processes run only now and then, which callers of theirs see as a slow network."""

    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        over = threading.Event()

        def crawl() -> None:
            while not over.wait(CRAWL_RUNNING_SECONDS):
                processes = find(service)
                _signal(processes, signal.SIGSTOP)
                over.wait(CRAWL_STOPPED_SECONDS)
                _signal(processes, signal.SIGCONT)

        thread = threading.Thread(target=crawl)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    return strike


@contextmanager
def _full_disk(service: Service) -> Iterator[None]:
    """Let the web processes, which store the recordings, write no byte to any file."""
    processes = _web(service)
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def _poisoned(service: Service) -> Iterator[None]:
    sender = Sender(service.url, service.token["ivr"])
    sender.start()
    try:
        yield
    finally:
        sender.stop()


def _replicate(service: Service) -> None:
    """Give PostgreSQL a replica, without which no transaction is committed from now on."""
    cluster = PostgreSQL(service.state)
    replica = service.state / "replica"
    replica.mkdir(mode=0o700)
    shutil.chown(replica, service.state.joinpath("postgres").owner())
    cluster.call("pg_basebackup", "--checkpoint=fast", "-R", "-D", str(replica), "-d", service.database)
    # It shares the folder of its primary's socket, by which the launcher knows it once it takes the primary's place.
    options = f"-c listen_addresses= -c unix_socket_permissions=0700 -p {REPLICA_PORT} -k {cluster.socket_folder}"
    cluster.call("pg_ctl", "-D", str(replica), "-l", str(cluster.log), "-w", "-o", options, "start")
    service.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
    service.query("SELECT pg_reload_conf()")
    while service.query("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
        time.sleep(0.1)


@contextmanager
def _fail_over(service: Service) -> Iterator[None]:
    """Kill PostgreSQL, and let its replica answer at its address."""
    processes = _postgresql(service)
    data, lost = service.state / "postgres", service.state / "lost"
    data.rename(lost)
    data.symlink_to(service.state / "replica")
    data.joinpath(".s.PGSQL.5432").symlink_to(lost / f".s.PGSQL.{REPLICA_PORT}")
    _signal(processes, signal.SIGKILL)
    PostgreSQL(service.state).call("pg_ctl", "-D", str(data), "-w", "promote")
    yield


def _skewed(part: str, seconds: int) -> Strike:
    """Let the clocks of one part differ from those of all others: see ``clock/sitecustomize.py``."""

    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        service.set_clock(part, seconds)
        try:
            yield
        finally:
            service.set_clock(part, 0)

    return strike


def _part(name: str) -> Callable[[Service], list[psutil.Process]]:
    return lambda service: [process] if (process := service.part(name)) else []


def _web(service: Service) -> list[psutil.Process]:
    main = service.part("web")
    return [main, *main.children(recursive=True)] if main else []


def _one_web_process(service: Service) -> list[psutil.Process]:
    main = service.part("web")
    return main.children()[:1] if main else []


def _one_scoring_process(service: Service) -> list[psutil.Process]:
    main = service.part("scoring")
    return main.children()[:1] if main else []


def _postgresql(service: Service) -> list[psutil.Process]:
    main = service.part("postgresql")
    return [main, *main.children(recursive=True)] if main else []


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


FAULTS = [
    Fault("one web process is killed", _killed(_one_web_process), lasts=False),
    Fault("the web server is killed", _killed(_part("web")), lasts=False),
    Fault("one scoring process is killed", _killed(_one_scoring_process), lasts=False),
    Fault("the scoring worker is killed", _killed(_part("scoring")), lasts=False),
    Fault("one scoring process hangs", _paused(_one_scoring_process), lasts=True),
    Fault("the decoders are killed", _killed(Service.decoders), lasts=False),
    Fault("the training worker is killed", _killed(_part("training")), lasts=False),
    Fault("beat is killed", _killed(_part("beat")), lasts=False),
    Fault("Redis is killed", _killed(_part("redis")), lasts=False),
    Fault("Redis hangs", _paused(_part("redis")), lasts=True),
    Fault("Redis is slow", _crawling(_part("redis")), lasts=True),
    Fault("PostgreSQL is killed", _killed(_part("postgresql")), lasts=False),
    Fault("PostgreSQL hangs", _paused(_postgresql), lasts=True),
    Fault("PostgreSQL is slow", _crawling(_postgresql), lasts=True),
    Fault("the disk is full", _full_disk, lasts=True),
    Fault("hostile recordings arrive", _poisoned, lasts=True),
    Fault("the web server's clock is an hour ahead", _skewed("web", 3600), lasts=True),
    Fault("the web server's clock is an hour behind", _skewed("web", -3600), lasts=True),
    Fault("the workers' clocks are an hour ahead", _skewed("worker", 3600), lasts=True),
    Fault("the workers' clocks are an hour behind", _skewed("worker", -3600), lasts=True),
    Fault("PostgreSQL fails over to its replica", _fail_over, lasts=False, prepare=_replicate),
]
