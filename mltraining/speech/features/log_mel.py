"""The one log-mel, for training and for scoring, and the chunks that audio is scored in."""

import logging
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mltraining.speech.config import Audio, ConfigError, Prediction

logger = logging.getLogger(__name__)

FLOOR = (
    1e-6  # of a mel row's power before the logarithm: silence becomes −13.8, never −inf; 16-bit rounding is below it
)


class LogMel(nn.Module):
    """(batch, samples) -> (batch, 1, mel rows, frames), natural logarithm of mel power.

    Samples are float in [-1, 1] or int16; floats are first rounded to the 16-bit grid, so that the clip cache of
    training (int16) and the float path of scoring give the same features. The mel scale is HTK's, the filters are
    triangles of height 1. Frames are centred, with reflection at the ends: 1 + samples // hop of them.

    The top frequency is clamped to the Nyquist frequency of the configured rate and, where given, of the source.
    Rows whose triangle falls between two FFT bins would be empty, which makes a constant input; such a configuration
    raises ConfigError.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, audio: Audio, *, source_rate: int | None = None) -> None:
        super().__init__()
        self.audio = audio
        self.maximum_frequency = top_frequency(audio, source_rate)
        self.size = audio.stft_size or audio.stft_window_size
        filters = mel_filters(
            audio.sample_rate,
            self.size,
            audio.mel_frequency_bins,
            audio.minimum_frequency,
            self.maximum_frequency,
        )
        empty = int((filters.sum(axis=0) == 0).sum())
        if empty:
            raise ConfigError(
                f"audio.mel_frequency_bins: {empty} of {audio.mel_frequency_bins} rows would be empty between "
                f"{audio.minimum_frequency:g} and {self.maximum_frequency:g} Hz; take fewer rows or a longer "
                "audio.stft_window_size, or an audio.stft_size"
            )
        self.register_buffer("window", torch.hann_window(audio.stft_window_size), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, samples: Tensor) -> Tensor:
        """samples: (batch, n) -> (batch, 1, mel, 1 + n // hop), float32."""
        samples = on_16_bit_grid(samples)
        if samples.shape[-1] < self.size:  # reflection needs more than half of it
            samples = tile(samples, self.size)
        spectrum = torch.stft(
            samples,
            n_fft=self.size,
            hop_length=self.audio.hop_size,
            win_length=self.audio.stft_window_size,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )  # (batch, bins, frames)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = torch.matmul(self.filters.T, power)  # (batch, mel, frames)
        return self._normalize(torch.log(mel + FLOOR)).unsqueeze(1)

    def frames(self, samples: int) -> int:
        """How many frames so many samples give."""
        return 1 + max(samples, self.size) // self.audio.hop_size

    def _normalize(self, logmel: Tensor) -> Tensor:
        match self.audio.spectrogram_normalization:
            case "Mean":  # of each row over time: removes a fixed channel
                return logmel - logmel.mean(dim=2, keepdim=True)
            case "Channel":
                deviation, mean = torch.std_mean(logmel, dim=2, keepdim=True, correction=0)
                return (logmel - mean) / (deviation + 1e-5)
            case "Spectrogram":
                deviation, mean = torch.std_mean(logmel, dim=(1, 2), keepdim=True, correction=0)
                return (logmel - mean) / (deviation + 1e-5)
        return logmel


def top_frequency(audio: Audio, source_rate: int | None = None) -> float:
    """maximum_frequency clamped to half of the lower of the two rates, with a warning (Hz).

    With ``audio_parameters: Custom`` the values are taken to the letter, so a clamp is a ConfigError instead.
    """
    nyquist = min(audio.sample_rate, source_rate or audio.sample_rate) / 2
    if audio.maximum_frequency <= nyquist:
        return audio.maximum_frequency
    message = f"audio.maximum_frequency: {audio.maximum_frequency:g} Hz is above the Nyquist frequency, {nyquist:g} Hz"
    if audio.audio_parameters == "Custom":
        raise ConfigError(f"{message}, and audio.audio_parameters: Custom forbids to clamp it")
    logger.warning("%s; clamped to that", message)
    return nyquist


def mel_filters(rate: int, window: int, rows: int, low: float, high: float) -> np.ndarray:
    """Triangles on the HTK mel scale, as torchaudio's ``melscale_fbanks(norm=None)``: (window // 2 + 1, rows)."""

    def to_mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    bins = np.linspace(0, rate / 2, window // 2 + 1)
    edges = 700.0 * (10.0 ** (np.linspace(to_mel(low), to_mel(high), rows + 2) / 2595.0) - 1.0)
    width = np.diff(edges)
    slopes = edges[None, :] - bins[:, None]  # (bins, rows + 2)
    rising, falling = -slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def on_16_bit_grid(samples: Tensor) -> Tensor:
    """int16 or float in [-1, 1] -> float32 multiples of 1/32768."""
    if samples.dtype == torch.int16:
        return samples.float() / 32768.0
    return torch.round(samples.float() * 32768.0).clamp(-32768, 32767) / 32768.0


def tile(samples: Tensor, length: int) -> Tensor:
    """Repeat (…, n) until it is ``length`` long: a short clip stays speech throughout, where zeros would not."""
    repeats = -(-length // samples.shape[-1])
    return samples.repeat(*[1] * (samples.dim() - 1), repeats)[..., :length]


def chunks(samples: np.ndarray, audio: Audio, prediction: Prediction) -> Iterator[np.ndarray]:
    """The pieces of (n,) samples, at the configured rate, whose embeddings are averaged, weighed by their length.

    ``inference_chunk_method: Fix``: consecutive pieces of inference_chunk_seconds out of the first
    max_inference_chunk_seconds. Audio shorter than a chunk is one piece of its own length: no padding. A last piece
    shorter than a second is left out where another precedes it.
    """
    size = round(prediction.inference_chunk_seconds * audio.sample_rate)
    samples = samples[: round(prediction.max_inference_chunk_seconds * audio.sample_rate)]
    for start in range(0, max(len(samples), 1), size):
        piece = samples[start : start + size]
        if start == 0 or len(piece) >= min(size, audio.sample_rate):
            yield piece
