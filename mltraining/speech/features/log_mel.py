"""The log-mel spectrogram, the same for training and scoring: by FFT, and as matrix products for an ONNX graph."""

import logging
import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mltraining.speech.config import Audio, ConfigError
from mltraining.speech.features.chunks import shortest
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
        self.size = shortest(audio)
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
        return self.normalize(torch.log(mel + FLOOR)).unsqueeze(1)

    def frames(self, samples: int) -> int:
        """Return how many frames a number of samples gives."""
        return 1 + max(samples, self.size) // self.audio.hop_size

    def normalize(self, logmel: Tensor) -> Tensor:
        """Normalize (batch, mel, frames) as the configuration says."""
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


class MatrixLogMel(nn.Module):
    """``LogMel`` in the operations that an ONNX graph has: (batch, samples) float32 -> (batch, 1, mel rows, frames).

    Framing, window and DFT are one convolution, of which only the bins under a mel filter are computed. The clip is at
    least ``LogMel.size`` long.
    """

    kernel: Tensor
    filters: Tensor

    def __init__(self, features: LogMel) -> None:
        super().__init__()
        self.normalize = features.normalize
        self.hop = features.audio.hop_size
        window = features.window.cpu().double()
        first = (features.size - len(window)) // 2  # the window stands in the middle of the FFT
        self.padding = (features.size // 2 - first, len(window) - features.size // 2 + first)
        filters = features.filters.cpu()
        bins = torch.nonzero(filters.sum(dim=1) > 0).double()  # (bins, 1)
        angles = 2 * math.pi / features.size * bins * torch.arange(first, first + len(window)).double()
        kernel = torch.cat([angles.cos(), -angles.sin()]) * window  # (2 * bins, window)
        self.register_buffer("kernel", kernel.float()[:, None])
        self.register_buffer("filters", filters[filters.sum(dim=1) > 0].T.contiguous())

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the spectrograms: (batch, n) -> (batch, 1, mel, 1 + n // hop), float32."""
        padded = F.pad(on_16_bit_grid(samples)[:, None], self.padding, mode="reflect")
        real, imaginary = F.conv1d(padded, self.kernel, stride=self.hop).chunk(2, dim=1)
        mel = torch.matmul(self.filters, real.square() + imaginary.square())
        return self.normalize(torch.log(mel + FLOOR)).unsqueeze(1)


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
