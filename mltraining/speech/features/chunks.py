"""The pieces that a recording is scored in."""

from collections.abc import Iterator

import numpy as np

from mltraining.speech.config import Audio, Prediction

WINDOW, WINDOW_HOP = 48, 24  # frames of the spectrogram: 0.48 s and 0.24 s where a frame begins each 10 ms


def shortest(audio: Audio) -> int:
    """Return how many samples a piece has at least: those of one FFT. A shorter clip is repeated until it has them."""
    return audio.stft_size or audio.stft_window_size


def chunks(samples: np.ndarray, audio: Audio, prediction: Prediction) -> Iterator[np.ndarray]:
    """Cut (n,) samples, at the configured rate, into the pieces whose embeddings are averaged by length.

    ``inference_chunk_method: Fix`` takes consecutive pieces of inference_chunk_seconds out of the first
    max_inference_chunk_seconds. Audio shorter than a chunk is one piece of its own length, without padding. A last
    piece shorter than a second is left out, unless it is the only one.
    """
    size = round(prediction.inference_chunk_seconds * audio.sample_rate)
    samples = samples[: round(prediction.max_inference_chunk_seconds * audio.sample_rate)]
    for start in range(0, max(len(samples), 1), size):
        piece = samples[start : start + size]
        if start == 0 or len(piece) >= min(size, audio.sample_rate):
            yield piece
