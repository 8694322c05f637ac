"""Decode in a process of its own, so that no file can hurt the process that asks.

A decoder in C can crash, spin, or take gigabytes, whatever is checked beforehand. ``Decoder`` keeps one warm process
(``isolated``), which forks for each file; a fork costs milliseconds, an interpreter a quarter of a second. The fork has
its own limits of time and memory, which the kernel keeps, may open no file, and ends with its file. Samples come back
through a socket, so that no shared memory is needed.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mltraining.speech.audio import decoding
from mltraining.speech.audio.channels import ChannelRequired
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform

DEFAULT_SECONDS = 30.0  # for one file, by the clock
DEFAULT_CPU_SECONDS = 5.0
GRACE_SECONDS = 2.0  # for the kernel to end a fork, and for the process to say so
ROOT = Path(__file__).parents[3]
# Nothing else of the environment, where the keys may be.
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV", "HOME")

REQUEST = struct.Struct("<ddII")  # seconds by the clock and of CPU, bytes of options (JSON), bytes of the file
ANSWER = struct.Struct("<II")  # bytes of the description (JSON), bytes of samples
STATUS = struct.Struct("<i")  # of a fork that ended, as ``os.waitpid`` gives it


class DecoderCrashed(AudioError):
    """The decoder died of the file. ``cause`` is the name of the signal or of the exception."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__("undecodable_audio")


class DecodingTimedOut(Exception):
    """Decoding had not ended when the time of whoever waits was over."""


class _Gone(Exception):
    """The warm process is not there any more. It touches no file itself."""


class Decoder:
    """Decodes one file at a time in forks of a process that it starts when first asked. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0

    def decode(
        self,
        data: bytes,
        *,
        seconds: float = DEFAULT_SECONDS,
        cpu_seconds: float = DEFAULT_CPU_SECONDS,
        **options: Any,
    ) -> Waveform:
        """Decode as ``decoding.decode`` does, with its ``options``, within so many seconds by the clock and of CPU.

        Raises what it raises, an AudioError ``audio_bomb`` where the CPU's time is used up, ``DecoderCrashed``, and
        ``DecodingTimedOut`` where the clock's is.
        """
        if decoding.is_plain(data, options.get("format")):
            return decoding.decode(data, **options)
        described = json.dumps(options).encode()
        request = REQUEST.pack(max(0.001, seconds), max(0.001, cpu_seconds), len(described), len(data)) + described
        with self._lock:
            for _ in range(2):
                try:
                    description, samples = self._ask(request, data, seconds)
                    return _understood(description, samples)
                except _Gone:
                    self._stop()
        raise DecoderCrashed("no process")

    def start(self) -> None:
        """Start the process, so that the first file need not wait for it."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _running(self) -> socket.socket:
        if self._process is not None and self._owner != os.getpid():
            self._process = self._control = None  # it belongs to the process that this one was forked from
        if self._process is None or self._process.poll() is not None or self._control is None:
            self._stop()
            self._control, theirs = socket.socketpair()
            environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
            environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "mltraining.speech.audio.isolated", str(theirs.fileno())],
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            self._owner = os.getpid()
        return self._control

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def _ask(self, request: bytes, data: bytes, seconds: float) -> tuple[dict[str, Any], bytearray]:
        control = self._running()
        control.settimeout(seconds + GRACE_SECONDS)
        ours, theirs = socket.socketpair()
        description, samples = b"", bytearray()
        with ours:
            ours.settimeout(seconds + GRACE_SECONDS)
            try:
                with theirs:
                    socket.send_fds(control, [b"!"], [theirs.fileno()])
                ours.sendall(request)
                ours.sendall(data)
                size, count = ANSWER.unpack(received(ours, ANSWER.size))
                description, samples = bytes(received(ours, size)), received(ours, count)
            except TimeoutError as error:
                raise _Gone from error
            except OSError:  # the fork died; its status says of what
                pass
        try:
            status = STATUS.unpack(received(control, STATUS.size))[0]
        except OSError as error:
            raise _Gone from error
        if os.WIFSIGNALED(status):
            raise _death(os.WTERMSIG(status))
        if status or not description:
            raise DecoderCrashed(f"exit status {os.waitstatus_to_exitcode(status)}")
        return json.loads(description), samples


def received(connection: socket.socket, size: int) -> bytearray:
    """Receive exactly so many bytes. Raises OSError where the other side ends before."""
    content = bytearray(size)
    view, at = memoryview(content), 0
    while at < size:
        count = connection.recv_into(view[at:])
        if not count:
            raise ConnectionResetError
        at += count
    return content


def _death(number: int) -> Exception:
    if number == signal.SIGALRM:
        return DecodingTimedOut()
    if number in (signal.SIGPROF, signal.SIGXCPU):
        return AudioError("audio_bomb", "Decoding the file takes far longer than a recording of its length does.")
    return DecoderCrashed(signal.Signals(number).name)


def _understood(description: dict[str, Any], samples: bytearray) -> Waveform:
    """The waveform that was decoded. Raises what decoding raised."""
    if "bug" in description:
        raise DecoderCrashed(description["bug"])
    waveforms, at = [], 0
    for known in description["waveforms"]:
        count = known.pop("count")
        waveforms.append(Waveform(np.frombuffer(samples, dtype=np.float32, count=count, offset=at), **known))
        at += 4 * count
    code = description["code"]
    if code == "channel_required":
        raise ChannelRequired(waveforms)
    if code:
        raise AudioError(code, description["detail"])
    return waveforms[0]


def described(waveform: Waveform) -> dict[str, Any]:
    """Return a waveform without its samples, as JSON values."""
    known = {each.name: getattr(waveform, each.name) for each in fields(waveform) if each.name != "samples"}
    return known | {"count": len(waveform.samples)}
