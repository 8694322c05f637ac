"""Timing of code that scores: a clip to time it with, the median of repeated calls, and one thread to run them on."""

import io
import statistics
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from mltraining.speech.scoring import onnx_runtime

RATE = 8000  # Hz, a telephone's
REPEATS = 20


def clip(seconds: float) -> bytes:
    """Make a WAV file, 16 bits at 8 kHz, of noise that swells and fades like syllables.

    The content does not matter: no stage takes longer for another.
    """
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(times)) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes((noise.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def milliseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median duration of ``repeats`` calls, after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return 1000 * statistics.median(taken)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch, and the encoders that are loaded within, to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with onnx_runtime.limited(1):
            yield
    finally:
        torch.set_num_threads(before)
