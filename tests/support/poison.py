"""How much one client that sends hostile recordings slows another client's calls.

    .venv/bin/python -m tests.support.poison --api http://127.0.0.1:8000/api/v1 --token IVR --poison-token ANOTHER_IVR

The service must run, with a model, and its policy must let both clients make some hundreds of calls a minute. The
calls are identifications of one short recording. Each round measures them alone, and then while another client sends
recordings that are built to keep a decoder busy or to crash it, so many a second. It prints both figures and how often
each answer was given to the hostile recordings.
"""

import argparse
import io
import itertools
import threading
import time
from collections import Counter

import av
import httpx
import numpy as np

from tests.support.audio import encode, voice

RATE = 48_000  # Hz
LONG_SECONDS, SHORT_SECONDS = 119, 4


def hostile() -> dict[str, bytes]:
    """Return tiny frames, eight planar channels, a table of samples that are not there, and half of a file."""
    m4a = bytearray(encode(voice(1), "m4a"))
    at = m4a.find(b"stsz") + 8
    m4a[at : at + 8] = (0).to_bytes(4, "big") + (30_000_000).to_bytes(4, "big")
    return {
        "opus, 2.5 ms": _encoded("ogg", "libopus", "mono", LONG_SECONDS, frame_duration="2.5", b="16000"),
        "aac, eight channels": _encoded("adts", "aac", "7.1", SHORT_SECONDS),
        "m4a, 30 million samples": bytes(m4a),
        "half of a wav": encode(voice(1), "wav")[: 3 * 16_000],
    }


def _encoded(container: str, codec: str, layout: str, seconds: float, **options: str) -> bytes:
    samples = np.resize(voice(1, sample_rate=RATE), round(seconds * RATE)).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=RATE, layout=layout, options=options)
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.open()
        resampler = av.AudioResampler(format=context.format, layout=layout, rate=RATE, frame_size=context.frame_size)
        packed = np.repeat(samples, len(context.layout.channels))[None]
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = RATE
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            file.mux(context.encode(piece))
    return buffer.getvalue()


def measured(client: httpx.Client, audio: bytes, seconds: float) -> tuple[list[float], Counter[int]]:
    """Return the milliseconds of the calls of so many seconds, one after the other, and how they were answered."""
    taken, statuses, ends = [], Counter[int](), time.monotonic() + seconds
    while (begun := time.monotonic()) < ends:
        statuses[client.post("/identify", files={"audio": ("call", audio)}).status_code] += 1
        taken.append(1000 * (time.monotonic() - begun))
    return taken, statuses


def poisoned(
    client: httpx.Client, recordings: dict[str, bytes], rate: float, over: threading.Event, answers: Counter[str]
) -> None:
    """Send ``rate`` hostile recordings a second, each from a thread of its own, until it is over."""
    files, threads, due = itertools.cycle(recordings.items()), [], time.monotonic()

    def send(name: str, audio: bytes) -> None:
        try:
            answer = client.post("/identify", files={"audio": ("call", audio)})
            code = answer.json().get("error", {}).get("code", "")
            answers[f"{name}: {answer.status_code} {code}"] += 1
        except httpx.HTTPError as error:
            answers[f"{name}: {type(error).__name__}"] += 1

    while not over.wait(max(0.0, due - time.monotonic())):
        threads.append(threading.Thread(target=send, args=next(files)))
        threads[-1].start()
        due += 1 / rate
    for each in threads:
        each.join()


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--api", "--token", "--poison-token"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rate", type=float, default=5.0, help="hostile recordings a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    one, other = (
        httpx.Client(base_url=options.api, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        for token in (options.token, options.poison_token)
    )
    audio, recordings = encode(voice(2, seconds=SHORT_SECONDS), "wav_mulaw"), hostile()
    measured(one, audio, 2.0)  # warms the service
    alone: list[float] = []
    beside: list[float] = []
    statuses, answers = Counter[int](), Counter[str]()
    for _ in range(options.rounds):
        taken, found = measured(one, audio, options.seconds)
        alone, statuses = alone + taken, statuses + found
        over = threading.Event()
        sender = threading.Thread(target=poisoned, args=(other, recordings, options.rate, over, answers))
        sender.start()
        taken, found = measured(one, audio, options.seconds)
        over.set()
        sender.join()
        beside, statuses = beside + taken, statuses + found
    for name, taken in (("alone", alone), ("beside", beside)):
        median, late = np.percentile(taken, [50, 99])
        print(f"{name}: {len(taken)} calls, median {median:.0f} ms, p99 {late:.0f} ms")
    print(f"p99 {np.percentile(beside, 99) / np.percentile(alone, 99):.2f} times that without poison; {dict(statuses)}")
    print("\n".join(f"{name} ({count})" for name, count in sorted(answers.items())))


if __name__ == "__main__":
    main()
