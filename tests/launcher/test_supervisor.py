"""The supervisor with small real processes in place of the service's parts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]

# A part writes its name at each start and when it is asked to stop.
PART = """
import os, signal, sys, time
name, folder, kind = sys.argv[1:]
def note(what):
    with open(f"{folder}/events", "a") as file:
        file.write(f"{name} {what} {os.getpid()}\\n")
if kind == "stubborn":
    signal.signal(signal.SIGTERM, lambda *_: note("ignores"))
else:
    signal.signal(signal.SIGTERM, lambda *_: (note("stops"), sys.exit(0)))
if kind == "parent":
    import subprocess
    note(f"child {subprocess.Popen(['sleep', '600'], start_new_session=True).pid}")
note("starts")
while True:
    time.sleep(600)
"""

SUPERVISOR = """
import pathlib, sys
from voiceauth.launcher.supervisor import Part, Supervisor
folder = pathlib.Path(sys.argv[1])
code = (folder / "part.py").read_text()
def part(name, kind, stage, **options):
    return Part(name, [sys.executable, "-c", code, name, str(folder), kind], stage=stage, **options)
parts = [part("queue", "quiet", 2), part("worker", "parent", 1), part("stubborn", "stubborn", 1, patience=0.3),
         part("web", "quiet", 0)]
Supervisor(parts, log_folder=folder, say=lambda line: print(line, flush=True)).run(lambda: None)
"""


class Run:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "part.py").write_text(PART)
        self.output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(folder)], cwd=ROOT, stdout=self.output, stderr=subprocess.STDOUT
        )
        until(
            lambda: {self.last(name, "starts") is not None for name in ("queue", "worker", "stubborn", "web")} == {True}
        )
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def events(self) -> list[list[str]]:
        path = self.folder / "events"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def last(self, name: str, what: str) -> int | None:
        found = [int(event[-1]) for event in self.events() if event[:2] == [name, what]]
        return found[-1] if found else None

    def nobody_lives(self) -> bool:
        return not psutil.wait_procs(self.family, timeout=10)[1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    running = Run(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()
    for process in running.family:
        if process.is_running():
            process.kill()
    running.output.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_stops_the_parts_in_order_and_leaves_no_process(run: Run, number: signal.Signals) -> None:
    run.process.send_signal(number)
    assert run.process.wait(timeout=30) == 0
    asked = [event[0] for event in run.events() if event[1] in ("stops", "ignores")]
    assert asked[0] == "web"
    assert set(asked[1:3]) == {"worker", "stubborn"}
    assert asked[3] == "queue"
    assert run.nobody_lives()  # the worker's own child, in a session of its own, included


def test_a_part_that_dies_is_started_again(run: Run) -> None:
    first = run.last("web", "starts")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: run.last("web", "starts") != first)
    assert "web ended with signal SIGKILL" in (run.folder / "output").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the children on Linux only")
def test_the_parts_end_when_the_supervisor_is_killed(run: Run) -> None:
    parts = [run.last(name, "starts") for name in ("queue", "worker", "web")]
    run.process.kill()
    run.process.wait()
    until(lambda: not any(pid and psutil.pid_exists(pid) and _lives(pid) for pid in parts))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
