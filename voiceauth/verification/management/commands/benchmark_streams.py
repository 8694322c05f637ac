"""``manage.py benchmark_streams``: many calls at once, streamed to a running service; how late are the answers?"""

import asyncio
import json
import time
from argparse import ArgumentParser
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from voiceauth.platform import env

RATE = 8000  # Hz
MESSAGE_SECONDS = 0.02  # as telephone platforms send
STEP_SECONDS = 0.05  # in which the moment with enough speech is looked for
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Played:
    """What became of one call: the ``decision`` or the error's code, and how late the answer was."""

    answer: str
    late_seconds: float | None  # after the moment at which enough speech had been sent
    behind_seconds: float  # the client itself was late by, at the most


class Command(BaseCommand):
    help = (
        "Stream a recording many times at once to a running service, as a telephone platform does. It claims a "
        "customer who does not exist, so that no customer is locked: the calls are scored against a decoy, and leave "
        "decisions and audit events. The token of an IVR is taken from VOICEAUTH_IVR_TOKEN."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("audio", type=Path, help="a recording of one speaker")
        parser.add_argument("--url", default="ws://127.0.0.1:8000/api/v1/stream")
        parser.add_argument("--streams", type=int, default=20, help="calls at once (default: %(default)s)")
        parser.add_argument("--calls", type=int, help="calls in all (default: as many as --streams)")
        parser.add_argument("--speed", type=float, default=1.0, help="times real time (default: %(default)s)")
        parser.add_argument("--seconds", type=float, help="length of a call: the caller is silent at first")
        parser.add_argument("--customer", default="benchmark-of-streams", help="whom the callers claim to be")

    def handle(self, *args: Any, **options: Any) -> None:
        from mltraining.speech.audio.errors import AudioError

        token = env.text("VOICEAUTH_IVR_TOKEN")
        if not token:
            raise CommandError("Set VOICEAUTH_IVR_TOKEN to the token of an API client with the role ivr.")
        try:
            content, samples = _telephone(options["audio"].read_bytes())
        except (OSError, AudioError) as error:
            raise CommandError(f"{options['audio']}: {error}") from error
        silence = b"\xff" * max(0, int((options["seconds"] or 0) * RATE) - len(content))
        content = silence + content
        bench = Bench(options["url"], token, options["customer"], content, samples, options["speed"])
        begun = time.perf_counter()
        played = asyncio.run(bench.run(options["streams"], options["calls"] or options["streams"]))
        self._report(played, time.perf_counter() - begun, len(content) / RATE, options)

    def _report(self, played: list[Played], seconds: float, length: float, options: dict[str, Any]) -> None:
        answers = Counter(each.answer for each in played)
        late = [each.late_seconds for each in played if each.late_seconds is not None]
        self.stdout.write(
            f"{len(played)} calls of {length:.1f} s, {options['streams']} at once, at {options['speed']:g} times real "
            f"time, in {seconds:.1f} s"
        )
        self.stdout.write("answers: " + ", ".join(f"{number} {name}" for name, number in answers.most_common()))
        if late:
            median, p95, p99 = np.percentile(late, (50, 95, 99)) * 1000
            self.stdout.write(
                f"late by (ms): p50 {median:.0f}, p95 {p95:.0f}, p99 {p99:.0f}, max {max(late) * 1000:.0f}"
            )
        behind = max(each.behind_seconds for each in played) * 1000
        self.stdout.write(f"this client fell behind by at most {behind:.0f} ms")


@dataclass
class Bench:
    """Plays ``content`` (mu-law) again and again; ``samples`` are what its end decodes to, after silence."""

    url: str
    token: str
    customer: str
    content: bytes
    samples: np.ndarray
    speed: float
    enough: float | None = None  # seconds of the call with enough speech

    async def run(self, streams: int, calls: int) -> list[Played]:
        """Play so many calls, so many at once, that begin at different moments of a call."""
        places = asyncio.Semaphore(streams)
        length = len(self.content) / RATE / self.speed

        async def one(number: int) -> Played:
            await asyncio.sleep(length * (number % streams) / streams)
            async with places:
                return await self._play()

        return await asyncio.gather(*(one(number) for number in range(calls)))

    async def _play(self) -> Played:
        try:
            async with connect(self.url, additional_headers={"Authorization": f"Bearer {self.token}"}) as socket:
                parameters = {"customer_id": self.customer}
                await socket.send(json.dumps({"event": "start", "start": {"customParameters": parameters}}))
                started = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
                if self.enough is None and started["event"] == "started":
                    self.enough = await asyncio.to_thread(self._seconds_with, started["answer_after_seconds"])
                begun = time.perf_counter()
                playing = asyncio.create_task(self._send(socket, begun))
                answer = await asyncio.wait_for(_answer(socket, started), PATIENCE_SECONDS)
                answered = time.perf_counter() - begun
                playing.cancel()
                behind = 0.0
                if not playing.done():
                    await asyncio.wait([playing])
                if not playing.cancelled():
                    behind = playing.result()
        except (OSError, WebSocketException, TimeoutError) as error:
            return Played(type(error).__name__, None, 0.0)
        late = None
        if answer["event"] == "decision" and self.enough is not None:
            late = answered - self.enough / self.speed
        name = answer["decision"]["decision"] if "decision" in answer else answer["error"]["code"]
        return Played(name, late, behind)

    async def _send(self, socket: Any, begun: float) -> float:
        """Send the call in its own time. Return by how many seconds this fell behind at most."""
        size, behind = int(MESSAGE_SECONDS * RATE), 0.0
        try:
            for at in range(0, len(self.content), size):
                due = begun + (at + size) / RATE / self.speed
                wait = due - time.perf_counter()
                behind = max(behind, -wait)
                if wait > 0:
                    await asyncio.sleep(wait)
                await socket.send(self.content[at : at + size])
            await socket.send('{"event": "stop"}')
        except (asyncio.CancelledError, ConnectionClosed):
            pass  # the answer came before the end of the call
        return behind

    def _seconds_with(self, speech_seconds: float) -> float:
        """Find the shortest beginning of the call that holds so much speech; all of it where none does."""
        from mltraining.speech.audio import quality
        from mltraining.speech.audio.waveform import Waveform

        silence = (len(self.content) - len(self.samples)) / RATE
        steps = range(1, int(len(self.samples) / RATE / STEP_SECONDS) + 1)
        for step in steps:
            length = step * STEP_SECONDS
            if length >= speech_seconds:
                beginning = Waveform(self.samples[: int(length * RATE)], RATE, "mulaw", "pcm_mulaw")
                if quality.measure(beginning).speech_seconds >= speech_seconds:
                    return silence + length
        return len(self.content) / RATE


async def _answer(socket: Any, message: Any) -> Any:
    while message["event"] not in ("decision", "error"):
        message = json.loads(await socket.recv())
    return message


def _telephone(recording: bytes) -> tuple[bytes, np.ndarray]:
    """Return the recording in mu-law at 8 kHz, and the samples that this decodes to."""
    import av

    from mltraining.speech.audio.decoding import decode
    from mltraining.speech.audio.waveform import resample

    waveform = decode(recording)
    samples = resample(waveform.samples, waveform.sample_rate, RATE)
    linear = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)
    encoder = av.CodecContext.create("pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(linear[None], "s16", "mono")
    frame.sample_rate = RATE
    content = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return content, decode(content, format="mulaw").samples
