"""How long the stages of scoring a clip take, on one thread."""

import dataclasses
import io
import statistics
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.scoring.onnx_runtime import FILES
from mltraining.speech.scoring.pipeline import Runtime, ScoringPipeline

RATE = 8000  # Hz, a telephone's
REPEATS = 20


def clip(seconds: float) -> bytes:
    """A WAV file, 16 bits at 8 kHz: noise that swells and fades like syllables. The content costs no stage time."""
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(times)) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes((noise.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def milliseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of ``repeats`` calls, after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return 1000 * statistics.median(taken)


@contextmanager
def one_thread() -> Iterator[None]:
    """For torch, and for the exports loaded within."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def runtimes(folder: Path) -> dict[Runtime, ScoringPipeline]:
    """The pipeline under torch and under each of its exports, on one thread: within ``one_thread``."""
    names: list[Runtime] = ["torch", *(name for name, file in FILES.items() if (folder / file).exists())]
    return {name: ScoringPipeline.load(folder, runtime=name) for name in names}


def stages(loaded: dict[Runtime, ScoringPipeline], seconds: float, repeats: int = REPEATS) -> dict[str, float]:
    """Milliseconds of each stage on a clip of so many seconds: decode, VAD, features, then the encoder by runtime.

    The encoder takes the clip in one piece here, even where scoring would cut it into chunks.
    """
    pipeline = loaded["torch"]
    data = clip(seconds)
    waveform = decode(data)
    samples = torch.from_numpy(pipeline.samples(waveform))[None]
    with torch.inference_mode():
        spectrogram = pipeline.features(samples)
        found: dict[str, float] = {
            "decode": milliseconds(lambda: decode(data), repeats),
            # a copy: the speech of a waveform may be detected once and kept
            "VAD": milliseconds(lambda: quality.measure(dataclasses.replace(waveform)), repeats),
            "features": milliseconds(lambda: pipeline.features(samples), repeats),
        }
        for name, one in loaded.items():
            found[name] = milliseconds(lambda one=one: one.pooled(spectrogram), repeats)  # type: ignore[misc]
    return found
