"""Hostile recordings beside good calls: one client's poison must not slow another client's callers."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np

from voiceauth.benchmarks.callers import Call, Callers
from voiceauth.benchmarks.voices import Voice, encoded

RATE = 48_000  # Hz
LONG_SECONDS, SHORT_SECONDS = 119, 4
POISON_A_SECOND = 5.0
CLIP_SECONDS = 3.0
TIMEOUT_SECONDS = 60.0


def hostile() -> dict[str, bytes]:
    """Return tiny frames, eight planar channels, a table of samples that are not there, and half of a file."""
    hiss = np.random.default_rng(0).normal(0, 0.1, LONG_SECONDS * RATE).astype(np.float32)
    short = hiss[: SHORT_SECONDS * RATE]
    m4a = bytearray(encoded(short, container="ipod", codec="aac", rate=RATE))
    at = m4a.find(b"stsz") + 8
    m4a[at : at + 8] = (0).to_bytes(4, "big") + (30_000_000).to_bytes(4, "big")
    call = Voice(0, 1).call(SHORT_SECONDS, 0)
    return {
        "opus, 2.5 ms": encoded(hiss, container="ogg", codec="libopus", rate=RATE, frame_duration="2.5", b="16000"),
        "aac, eight channels": encoded(short, container="adts", codec="aac", rate=RATE, layout="7.1"),
        "m4a, 30 million samples": bytes(m4a),
        "half of a wav": call[: len(call) // 2],
    }


class Sender:
    """Sends hostile recordings, so many a second, each from a thread of its own, until ``stop``.

    ``answers`` counts what came back, by the recording's name.
    """

    def __init__(self, url: str, token: str, a_second: float = POISON_A_SECOND) -> None:
        self.answers: Counter[str] = Counter()
        self._recordings = hostile()
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS
        )
        self._over, self._a_second = threading.Event(), a_second
        self._thread = threading.Thread(target=self._send_on)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the answers."""
        self._over.set()
        self._thread.join()
        self._http.close()

    def _send_on(self) -> None:
        files, threads, due = itertools.cycle(self._recordings.items()), [], time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            threads.append(threading.Thread(target=self._send, args=next(files)))
            threads[-1].start()
            due += 1 / self._a_second
        for each in threads:
            each.join()

    def _send(self, name: str, audio: bytes) -> None:
        try:
            answer = self._http.post("/identify", files={"audio": ("call", audio)})
            told = f"{answer.status_code} {answer.json().get('error', {}).get('code', '')}"
        except httpx.HTTPError as error:
            told = type(error).__name__
        self.answers[f"{name}: {told}"] += 1


@dataclass
class Found:
    """The calls without and beside poison, and how often each answer was given to the hostile recordings."""

    alone: list[Call] = field(default_factory=list)
    beside: list[Call] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """The p99 beside poison, as a multiple of that without."""
        alone, beside = (np.percentile([call.seconds for call in calls], 99) for calls in (self.alone, self.beside))
        return float(beside / alone)


def beside(callers: Callers, *, seconds: float, rounds: int = 3) -> Found:
    """Measure one caller in turns without and beside poison, ``seconds`` in all of each."""
    found, token = Found(), callers.service.new_client("hostile", "ivr")
    for _ in range(rounds):
        found.alone += callers.together(1, CLIP_SECONDS, seconds=seconds / rounds)
        sender = Sender(callers.service.url, token)
        sender.start()
        found.beside += callers.together(1, CLIP_SECONDS, seconds=seconds / rounds)
        sender.stop()
        found.answers += sender.answers
    return found
