"""Redaction: cut stretches that must be neither stored nor scored (a spoken card number) out of a recording."""

import io
import wave
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mltraining.speech.audio.waveform import Waveform

Intervals = Sequence[tuple[float, float]]  # (start, end) in seconds of the recording


def cut(waveform: Waveform, intervals: Intervals) -> Waveform:
    """Cut out the samples inside ``intervals``, which may overlap and reach past the end of the recording."""
    keep = np.ones(len(waveform.samples), dtype=bool)
    for start, end in intervals:
        first, last = int(np.floor(start * waveform.sample_rate)), int(np.ceil(end * waveform.sample_rate))
        keep[max(0, first) : max(0, last)] = False
    return replace(waveform, samples=waveform.samples[keep])


def as_wav(waveform: Waveform) -> bytes:
    """Write a WAV file: mono, 16 bits, at the waveform's own rate."""
    pcm = np.clip(np.round(waveform.samples * 32768.0), -32768, 32767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(waveform.sample_rate)
        file.writeframes(pcm.tobytes())
    return content.getvalue()
