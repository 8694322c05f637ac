"""The process that decodes for ``isolation.Decoder``: ``python -m mltraining.speech.audio.isolated DESCRIPTOR``.

It forks for each file and tells how the fork ended. It reads no file itself, so it cannot die of one. It ends with the
process that started it.
"""

import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mltraining.speech.audio.channels import ChannelRequired
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.isolation import ANSWER, REQUEST, STATUS, described, received
from mltraining.speech.audio.waveform import Waveform

# Above what the process has when it starts. The largest recording that is read takes half: eight channels of 48 kHz.
MEMORY_BYTES = 512 << 20
SECONDS_TO_ANSWER = 10.0  # for whoever asked to take the samples


def main(descriptor: int) -> None:
    """Fork for each file that comes over the socket ``descriptor``, until its other end is closed."""
    control = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends this one
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _warm_up()
    _limit_memory()
    gc.collect()
    gc.freeze()  # a fork that collects would copy every page
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        child = os.fork()
        if not child:
            control.close()
            _answer(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])
        control.sendall(STATUS.pack(os.waitpid(child, 0)[1]))


def _answer(asked: socket.socket) -> None:
    """Decode what comes over the socket, answer and end this process. The kernel ends it when its time is over."""
    try:
        seconds, cpu_seconds, size, count = REQUEST.unpack(received(asked, REQUEST.size))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # no other file and no connection
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the file must not be left on a disk
        options = json.loads(received(asked, size))
        answer, samples = _decoded(bytes(received(asked, count)), options)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_ANSWER)
        content = json.dumps(answer).encode()
        asked.sendall(ANSWER.pack(len(content), sum(each.nbytes for each in samples)) + content)
        for each in samples:
            asked.sendall(each.data)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _decoded(data: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    code, detail, waveforms = "", "", list[Waveform]()
    try:
        waveforms = [decode(data, **options)]
    except ChannelRequired as error:
        code, waveforms = error.code, error.channels
    except AudioError as error:
        code, detail = error.code, str(error)
    except Exception as error:
        return {"bug": type(error).__name__}, []
    answer = {"code": code, "detail": detail, "waveforms": [described(each) for each in waveforms]}
    return answer, [np.ascontiguousarray(each.samples) for each in waveforms]


def _warm_up() -> None:
    """Decode once, rightly and wrongly, so that whatever is loaded late is loaded before the forks."""
    samples = np.random.default_rng(0).normal(0, 0.1, 4000).astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 2, 8000, 64_000, 8, 32)  # floats, which FFmpeg reads
    head = struct.pack("<4sI4s4sI", b"RIFF", 0, b"WAVE", b"fmt ", len(form))
    noise = head + form + struct.pack("<4sI", b"data", len(samples)) + samples
    for data in (noise, b"OggS" + bytes(100), b"nothing"):
        _decoded(data, {"max_seconds": 10})


def _limit_memory() -> None:
    with suppress(OSError, ValueError):  # not everywhere, and not above a limit that is there
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))


if __name__ == "__main__":
    main(int(sys.argv[1]))
