"""Restarts that callers must not notice: of each part, as a rolling update does it and as docs/operations.md says.

A new process is started beside the old one. Once it is ready, the old one gets SIGTERM, and has to end within the grace
that the Helm chart gives it. The supervisor of ``manage.py serve`` then starts the part anew, and the other one goes.
"""

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import httpx
import psutil

from voiceauth.benchmarks.faults import Fault
from voiceauth.benchmarks.service import START_SECONDS, Service, ServiceFailed, free_port

GRACE_SECONDS = {"web": 40.0, "scoring": 40.0, "training": 40.0, "beat": 15.0}  # as docker/helm/voiceauth/values.yaml
ENDPOINT_SECONDS = 1.0  # from SIGTERM until no new connection comes: every proxy has to hear of it
STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Restart(Fault):
    """What no caller may notice, and no caller who streams either where ``is_streamed``."""

    lasts: bool = False
    is_streamed: bool = True


class Balancer:
    """What stands before several web servers: a new connection goes to the next of ``ports``.

    Like a Service of Kubernetes it leaves connections alone that exist.
    """

    def __init__(self, ports: list[int]) -> None:
        self.ports, self.port = ports, free_port()
        self._count = 0
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()  # as long as the benchmark runs
        asyncio.run_coroutine_threadsafe(self._listen(), loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        try:
            theirs = await asyncio.open_connection("127.0.0.1", self.ports[self._count % len(self.ports)])
        except OSError:
            writer.transport.abort()
        else:
            await asyncio.gather(_pump(reader, theirs[1]), _pump(theirs[0], writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(64 * 1024):
            writer.write(content)
            await writer.drain()
    except OSError:
        writer.transport.abort()
    else:
        with suppress(OSError):
            writer.close()


class Beside:
    """A second process of a part, with the command and the environment of the first."""

    def __init__(self, service: Service, part: str) -> None:
        first = _first(service, part)
        command = [word.replace(f"{part}@", f"second-{part}@") for word in first.cmdline()]
        self.part, self.port = part, free_port()
        environment = first.environ() | {"VOICEAUTH_BIND": f"127.0.0.1:{self.port}"}
        self.log = service.state / "log" / f"second-{part}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=first.cwd(), env=environment, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Wait until it takes calls, by the probe of the chart. Raises ``ServiceFailed``."""
        _wait(lambda: self._is_ready() or self.process.poll() is not None, START_SECONDS)
        if self.process.poll() is not None:
            raise ServiceFailed(f"A second process of {self.part} did not start:\n{self.log.read_text()[-2000:]}")

    def _is_ready(self) -> bool:
        return _answers(self.port) if self.part == "web" else " ready." in self.log.read_text()

    def end(self) -> None:
        """Stop it as a rolling update does."""
        _end(psutil.Process(self.process.pid), GRACE_SECONDS[self.part])
        self.process.wait()


@contextmanager
def _web_beside(service: Service) -> Iterator[None]:
    """Replace the web server by another, and that by the next. The callers come through a ``Balancer``."""
    balancer = Balancer([service.port])
    service.entry = balancer.port
    try:
        time.sleep(ENDPOINT_SECONDS)
        second = Beside(service, "web")
        second.wait_until_ready()
        first = _first(service, "web")
        balancer.ports = [service.port, second.port]
        _leave(balancer, second.port, lambda: _end(first, GRACE_SECONDS["web"]))
        _wait(lambda: _answers(service.port), START_SECONDS)
        balancer.ports = [second.port, service.port]
        _leave(balancer, service.port, second.end)
        yield
    finally:
        service.entry = service.port


def _leave(balancer: Balancer, port: int, end: Callable[[], None]) -> None:
    """End a web server. Only the one at ``port`` gets connections once the proxies know."""
    timer = threading.Timer(ENDPOINT_SECONDS, lambda: setattr(balancer, "ports", [port]))
    timer.start()
    end()
    timer.join()


@contextmanager
def _web_processes(service: Service) -> Iterator[None]:
    """Let the web server replace its own processes."""
    before = set(_first(service, "web").children())
    _first(service, "web").send_signal(signal.SIGHUP)
    _wait(lambda: not any(each.is_running() for each in before), START_SECONDS)
    yield


def _worker_beside(part: str) -> Callable[[Service], AbstractContextManager[None]]:
    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        second = Beside(service, part)
        second.wait_until_ready()
        log = service.state / "log" / f"{part}.log"
        said = log.read_text().count(" ready.")
        _end(_first(service, part), GRACE_SECONDS[part])
        _wait(lambda: log.read_text().count(" ready.") > said, START_SECONDS)
        second.end()
        yield

    return strike


def _again(part: str) -> Callable[[Service], AbstractContextManager[None]]:
    """Stop a part, of which there is one, and let the supervisor start it again."""

    @contextmanager
    def strike(service: Service) -> Iterator[None]:
        _end(_first(service, part), GRACE_SECONDS[part])
        _wait(lambda: service.part(part) is not None, START_SECONDS)
        yield

    return strike


def _first(service: Service, part: str) -> psutil.Process:
    found = service.part(part)
    if found is None:
        raise ServiceFailed(f"{part} does not run.")
    return found


def _end(process: psutil.Process, grace: float) -> None:
    """SIGTERM, and SIGKILL to what has not ended after the grace. Raises ``ServiceFailed`` for the latter."""
    family = [process, *process.children(recursive=True)]
    process.terminate()
    late = psutil.wait_procs(family, timeout=grace)[1]
    for each in late:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    if late:
        raise ServiceFailed(f"{' '.join(process.cmdline())} did not end within {grace:g} s.")


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    return False


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise ServiceFailed(f"Waited for {seconds:g} s in vain.")
        time.sleep(STEP_SECONDS)


RESTARTS = [
    Restart("the web server is replaced by a second one", _web_beside),
    # Both listen at one port, and a call may be streamed to the old one until it stops.
    Restart("the web server's processes are replaced by new ones", _web_processes, is_streamed=False),
    Restart("the scoring worker is replaced by a second one", _worker_beside("scoring")),
    Restart("the training worker is replaced by a new one", _again("training")),
    Restart("beat is replaced by a new one", _again("beat")),
]
