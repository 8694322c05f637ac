"""Noise for speech at 8 kHz: recorded sounds, coloured noise, and other people talking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.telephone import RATE
from mltraining.speech.audio.waveform import resample

EVALUATED = 3  # every third file of the folder, in the order of the names, is kept for evaluation


def load(folder: Path | str, part: Literal["train", "evaluation"]) -> list[np.ndarray]:
    """Read one part of a folder: (n,) float32 each. The parts share no file. Raises OSError and AudioError."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} holds no recordings")
    chosen = [path for number, path in enumerate(files) if (number % EVALUATED == 0) == (part == "evaluation")]
    waveforms = [decode(path.read_bytes(), channel="mono") for path in chosen]
    return [resample(waveform.samples, waveform.sample_rate, RATE) for waveform in waveforms]


def coloured(length: int, random: np.random.Generator) -> np.ndarray:
    """Make noise whose power falls as 1/f^k, k drawn from 0 (white) to 2 (brown): (length,) float32."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0)
    return np.fft.irfft(spectrum * hertz ** (-random.uniform(0, 2) / 2), length).astype(np.float32)


def babble(voices: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Add up several voices at the same level, repeated where they are short: (n,) each -> (length,) float32."""
    mixed = np.zeros(length, dtype=np.float32)
    for voice in voices:
        mixed += np.resize(voice, length) / (_level(voice) + 1e-6)
    return mixed


def add(samples: np.ndarray, noise: np.ndarray, snr_db: float, random: np.random.Generator) -> np.ndarray:
    """Add ``noise`` at ``snr_db`` below the mean power of ``samples``: (n,) -> (n,) float32.

    The noise begins at a random place and is repeated where it is short.
    """
    start = int(random.integers(len(noise)))
    noise = np.resize(np.roll(noise, -start), len(samples))
    gain = _level(samples) / (_level(noise) + 1e-9) * 10 ** (-snr_db / 20)
    return (samples + gain * noise).astype(np.float32)


def _level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
