"""What may break while callers call: processes that are killed or paused, servers that crawl, a full disk, poison."""

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import psutil

from voiceauth.benchmarks.poison import Sender
from voiceauth.benchmarks.service import Service

CRAWL_STOPPED_SECONDS, CRAWL_RUNNING_SECONDS = 0.15, 0.05

Strike = Callable[[Service], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """Something that breaks: it lasts as long as the block of ``strike`` does, and is over after that."""

    name: str
    strike: Strike
    lasts: bool  # or it happens once


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
]
