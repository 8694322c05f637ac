"""The log-mel spectrogram, the same for training and scoring, and the chunks that audio is scored in."""

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mltraining.speech.config import Audio, ConfigError, Prediction
from mltraining.speech.torch_compat import load_torchaudio

logger = logging.getLogger(__name__)

FLOOR = 1e-6  # added to the power before the logarithm: silence becomes -13.8, not -inf; 16-bit rounding is below it


class LogMel(nn.Module):
    """Natural logarithm of mel power: (batch, samples) -> (batch, 1, mel rows, frames).

    Samples are float in [-1, 1] or int16. Floats are first rounded to the 16-bit grid, so that training (int16 clips)
    and scoring (float) give the same features. The mel scale is HTK's, and the filters are triangles of height 1.
    Frames are centred, with reflection at the ends; there are 1 + samples // hop of them.

    The top frequency is clamped to the Nyquist frequency of the configured rate and, if given, of the source. Raises
    ConfigError if a row's triangle falls between two FFT bins, because that row would be constant.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, audio: Audio, *, source_rate: int | None = None) -> None:
        super().__init__()
        self.audio = audio
        self.maximum_frequency = top_frequency(audio, source_rate)
        self.size = audio.stft_size or audio.stft_window_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchaudio warns of empty rows, which are refused below
            filters = mel_filters(audio, self.size, self.maximum_frequency)
        empty = int((filters.sum(dim=0) == 0).sum())
        if empty:
            raise ConfigError(
                f"audio.mel_frequency_bins: {empty} of {audio.mel_frequency_bins} rows would be empty between "
                f"{audio.minimum_frequency:g} and {self.maximum_frequency:g} Hz; take fewer rows or a longer "
                "audio.stft_window_size, or an audio.stft_size"
            )
        self.register_buffer("window", torch.hann_window(audio.stft_window_size), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, samples: Tensor) -> Tensor:
        """Compute the spectrograms: (batch, n) -> (batch, 1, mel, 1 + n // hop), float32."""
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
        """Return how many frames a number of samples gives."""
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
    """Clamp ``maximum_frequency`` to half of the lower of the two rates, with a warning (Hz).

    Raises ConfigError instead with ``audio_parameters: Custom``, which takes the values as they are written.
    """
    nyquist = min(audio.sample_rate, source_rate or audio.sample_rate) / 2
    if audio.maximum_frequency <= nyquist:
        return audio.maximum_frequency
    message = f"audio.maximum_frequency: {audio.maximum_frequency:g} Hz is above the Nyquist frequency, {nyquist:g} Hz"
    if audio.audio_parameters == "Custom":
        raise ConfigError(f"{message}, and audio.audio_parameters: Custom does not allow clamping it")
    logger.warning("%s; clamped to that", message)
    return nyquist


def mel_filters(audio: Audio, fft_size: int, maximum_frequency: float) -> Tensor:
    """Return triangles of height 1 on the HTK mel scale: (fft_size // 2 + 1, mel rows) float32."""
    filters: Tensor = load_torchaudio().functional.melscale_fbanks(
        n_freqs=fft_size // 2 + 1,
        f_min=audio.minimum_frequency,
        f_max=maximum_frequency,
        n_mels=audio.mel_frequency_bins,
        sample_rate=audio.sample_rate,
    )
    return filters


def on_16_bit_grid(samples: Tensor) -> Tensor:
    """Round to multiples of 1/32768: int16 or float in [-1, 1] -> float32."""
    if samples.dtype == torch.int16:
        return samples.float() / 32768.0
    return torch.round(samples.float() * 32768.0).clamp(-32768, 32767) / 32768.0


def tile(samples: Tensor, length: int) -> Tensor:
    """Repeat a short clip until it is ``length`` long, so that it stays speech throughout: (…, n) -> (…, length)."""
    repeats = -(-length // samples.shape[-1])
    return samples.repeat(*[1] * (samples.dim() - 1), repeats)[..., :length]


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
