"""Whether the memory of a process grows with the number of calls."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from voiceauth.benchmarks.callers import Callers
from voiceauth.benchmarks.poison import hostile

AT_ONCE = 4
STEPS = 5  # at which the memory is read
SETTLING = 0.1  # the share of the calls before the first reading: caches and pools fill with the first
CLIPS = (2.0, 3.0, 5.0, 8.0)  # seconds


def measured(callers: Callers, calls: int) -> Iterator[str]:
    """Make so many mixed calls, and yield lines that tell each part's memory on the way.

    Of ten calls, seven are verifications of different length, one is an identification, one a read, and one a
    recording that cannot be decoded.
    """
    ivr, reviewer = (
        httpx.Client(
            base_url=f"{callers.service.url}/api/v1",
            headers={"Authorization": f"Bearer {callers.service.token[role]}"},
            timeout=60,
        )
        for role in ("ivr", "reviewer")
    )
    with ivr, reviewer:
        bad = itertools.cycle(audio for name, audio in hostile().items() if not name.startswith("opus"))
        good = callers.recording(CLIPS[1])

        def call(number: int) -> None:
            kind = number % 10
            if kind < 7:
                callers.call(CLIPS[number % len(CLIPS)])
            elif kind == 7:
                ivr.post("/identify", files={"audio": ("call", good)})
            elif kind == 8:
                reviewer.get("/decisions")
            else:
                ivr.post("/identify", files={"audio": ("call", next(bad))})

        settled = int(calls * SETTLING)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(call, range(settled)))
            first = callers.service.usage().bytes
            yield f"after {settled:>6} calls: " + _told(first)
            latest, done = first, settled
            for step in range(1, STEPS + 1):
                until = settled + (calls - settled) * step // STEPS
                list(pool.map(call, range(done, until)))
                latest, done = callers.service.usage().bytes, until
                yield f"after {done:>6} calls: " + _told(latest)
    growth = {name: latest[name] / first[name] - 1 for name in latest if name in first}
    yield "growth: " + ", ".join(f"{name} {share:+.1%}" for name, share in growth.items())
    yield f"all together: {sum(latest.values()) / sum(first.values()) - 1:+.1%}"


def _told(used: dict[str, int]) -> str:
    return ", ".join(f"{name} {number / 1e6:.0f}" for name, number in used.items())
