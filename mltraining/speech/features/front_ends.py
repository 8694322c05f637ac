"""The front ends of encoders from elsewhere: from samples to the frames that they were trained on, by parameters.

``LogMel`` is our own network's; nothing here is used for it. docs/importing-encoders.md has every parameter and the
values that common toolkits use.
"""

import importlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mltraining.speech.settings_reader import ConfigError, at_least, below_one, build, checked, positive
from mltraining.speech.torch_compat import load_torchaudio

LEVEL_FLOOR = 1e-9  # of a root mean square, so that silence is not divided by zero
DEVIATION_FLOOR = 1e-5
KALDI_WINDOWS = {"hann": "hanning"}  # the names that differ in torchaudio's port of Kaldi


@dataclass(frozen=True)
class Signal:
    """What happens to the samples first, in this order: level, pre-emphasis over the whole clip, scale."""

    level_dbfs: float | None = None  # the root mean square that every clip is brought to; None: as recorded
    preemphasis: float = checked(0.0, below_one)
    scale: float = checked(1.0, positive)  # 32768 where the samples are to be those of 16 bits


@dataclass(frozen=True)
class Samples:
    """``kind: waveform``. A frame is a sample, with one band."""

    @property
    def width(self) -> int:
        """How many numbers a frame has."""
        return 1

    def samples_for(self, frames: int) -> int:
        """Return how many samples give at least so many frames."""
        return frames

    def module(self, sample_rate: int) -> nn.Module:
        """Return the map from samples (n,) to frames (n, 1)."""
        return nn.Unflatten(0, (-1, 1))


@dataclass(frozen=True)
class KaldiFbank:
    """``kind: kaldi_fbank``. Kaldi's log filter bank, by torchaudio, without dither and without energy."""

    window_size: int = checked(400, at_least(2))  # samples; the FFT takes the next power of two
    hop_size: int = checked(160, at_least(1))
    window: Literal["povey", "hamming", "hann", "blackman", "rectangular"] = "povey"
    bands: int = checked(80, at_least(4))
    low_hz: float = checked(20.0, at_least(0))
    high_hz: float = checked(0.0, at_least(0))  # 0: half of the sample rate
    preemphasis: float = checked(0.97, below_one)  # of each frame
    remove_offset: bool = True  # of each frame
    snip_edges: bool = True

    @property
    def width(self) -> int:
        """How many numbers a frame has."""
        return self.bands

    def samples_for(self, frames: int) -> int:
        """Return how many samples give at least so many frames."""
        return (frames - 1) * self.hop_size + self.window_size

    def module(self, sample_rate: int) -> nn.Module:
        """Return the map from samples (n,) to frames (frames, bands)."""
        return _KaldiFbank(self, sample_rate)


@dataclass(frozen=True)
class Mel:
    """``kind: mel``. The short-time Fourier transform of torch and librosa, through triangles on a mel scale."""

    window_size: int = checked(400, at_least(2))  # samples
    hop_size: int = checked(160, at_least(1))
    fft_size: int = checked(0, at_least(0))  # 0: the window's
    window: Literal["hann", "hamming", "blackman", "rectangular"] = "hann"
    symmetric_window: bool = False
    centred: bool = True  # frame i is centred on sample i * hop, with padding at both ends
    padding: Literal["reflect", "constant"] = "reflect"
    exponent: Literal[1, 2] = 2  # of the magnitude: 2 is power
    bands: int = checked(80, at_least(1))
    low_hz: float = checked(0.0, at_least(0))
    high_hz: float = checked(0.0, at_least(0))  # 0: half of the sample rate
    mel_scale: Literal["htk", "slaney"] = "htk"
    mel_norm: Literal["none", "slaney"] = "none"  # slaney: each triangle has the same area
    triangles: Literal["edges", "even"] = "edges"  # even: as wide on both sides as the band before is away
    logarithm: Literal["none", "natural", "base10", "decibel"] = "natural"
    floor: float = checked(1e-10, positive)
    floor_is_added: bool = False  # else smaller values are raised to it
    top_db: float = checked(0.0, at_least(0))  # decibels under the clip's maximum that are kept; 0: all

    @property
    def width(self) -> int:
        """How many numbers a frame has."""
        return self.bands

    @property
    def fft(self) -> int:
        """The size of the Fourier transform."""
        return self.fft_size or self.window_size

    def samples_for(self, frames: int) -> int:
        """Return how many samples give at least so many frames."""
        return (frames - 1) * self.hop_size + self.fft

    def module(self, sample_rate: int) -> nn.Module:
        """Return the map from samples (n,) to frames (frames, bands). Raises ConfigError for bands that are empty."""
        return _Mel(self, sample_rate)


@dataclass(frozen=True)
class Mfcc(Mel):
    """``kind: mfcc``. An orthonormal cosine transform (DCT-II) of the logarithmic mel bands."""

    cepstra: int = checked(20, at_least(1))

    @property
    def width(self) -> int:
        """How many numbers a frame has."""
        return self.cepstra

    def module(self, sample_rate: int) -> nn.Module:
        """Return the map from samples (n,) to frames (frames, cepstra). Raises ConfigError as ``Mel`` does."""
        if self.cepstra > self.bands:
            raise ConfigError(f"features.cepstra: {self.cepstra} exceeds features.bands, {self.bands}")
        return nn.Sequential(_Mel(self, sample_rate), _Cosine(self.bands, self.cepstra))


Features = Samples | KaldiFbank | Mel
KINDS: dict[str, type[Features]] = {"waveform": Samples, "kaldi_fbank": KaldiFbank, "mel": Mel, "mfcc": Mfcc}
Normalisation = Literal["none", "mean", "mean_deviation"]


def features_of(values: Any) -> Features:
    """Read the section ``features``, whose ``kind`` says which keys it takes. Raises ConfigError, which names them."""
    if not isinstance(values, Mapping) or values.get("kind") not in KINDS:
        raise ConfigError(f"features.kind: must be one of {', '.join(KINDS)}")
    kind = KINDS[values["kind"]]
    return build(kind, {name: value for name, value in values.items() if name != "kind"}, "features.")


def kind_of(features: Features) -> str:
    """Return the name that ``features_of`` knows them by."""
    return next(name for name, kind in KINDS.items() if type(features) is kind)


class FrontEnd(nn.Module):
    """From the samples of one clip to its frames: (n,) -> (frames, bands), float32."""

    def __init__(
        self, features: Features, *, sample_rate: int, signal: Signal, normalisation: Normalisation, min_frames: int
    ) -> None:
        """``normalisation`` is over the frames of the clip; a shorter clip is repeated up to ``min_frames``.

        Raises ConfigError for features that cannot be computed at ``sample_rate`` Hz.
        """
        super().__init__()
        high = getattr(features, "high_hz", 0.0)
        if high > sample_rate / 2 or getattr(features, "low_hz", 0.0) >= (high or sample_rate / 2):
            raise ConfigError("features.low_hz: must be below features.high_hz, and that within half of sample_rate")
        self.signal = signal
        self.normalisation = normalisation
        self.min_samples = features.samples_for(max(1, min_frames))
        self.features = features.module(sample_rate)

    @torch.inference_mode()
    def forward(self, samples: Tensor) -> Tensor:
        """Compute the frames: (n,) float in [-1, 1] -> (frames, bands) float32."""
        samples = samples.float()
        if len(samples) < self.min_samples:  # repeated, it stays speech throughout
            samples = samples.repeat(-(-self.min_samples // max(1, len(samples))))[: self.min_samples]
        frames: Tensor = self.features(_conditioned(samples, self.signal))
        if self.normalisation != "none":
            frames = frames - frames.mean(dim=0)
        if self.normalisation == "mean_deviation" and len(frames) > 1:
            frames = frames / (frames.std(dim=0) + DEVIATION_FLOOR)
        return frames


def _conditioned(samples: Tensor, signal: Signal) -> Tensor:
    if signal.level_dbfs is not None:
        level = samples.square().mean().sqrt() + LEVEL_FLOOR
        samples = samples * (10 ** (signal.level_dbfs / 20) / level)
    if signal.preemphasis:
        samples = torch.cat([samples[:1], samples[1:] - signal.preemphasis * samples[:-1]])
    return samples * signal.scale


class _KaldiFbank(nn.Module):
    def __init__(self, features: KaldiFbank, sample_rate: int) -> None:
        super().__init__()
        load_torchaudio()
        self.fbank = importlib.import_module("torchaudio.compliance.kaldi").fbank
        self.options: dict[str, Any] = {
            # It takes milliseconds and rounds down to samples, so half a sample more is safe from rounding.
            "frame_length": 1000 * (features.window_size + 0.5) / sample_rate,
            "frame_shift": 1000 * (features.hop_size + 0.5) / sample_rate,
            "sample_frequency": float(sample_rate),
            "window_type": KALDI_WINDOWS.get(features.window, features.window),
            "num_mel_bins": features.bands,
            "low_freq": features.low_hz,
            "high_freq": features.high_hz,
            "preemphasis_coefficient": features.preemphasis,
            "remove_dc_offset": features.remove_offset,
            "snip_edges": features.snip_edges,
            "dither": 0.0,
        }

    def forward(self, samples: Tensor) -> Tensor:
        frames: Tensor = self.fbank(samples[None], **self.options)
        return frames


class _Mel(nn.Module):
    window: Tensor
    filters: Tensor

    def __init__(self, features: Mel, sample_rate: int) -> None:
        super().__init__()
        if features.fft < features.window_size:
            raise ConfigError("features.fft_size: must be at least features.window_size")
        if features.triangles == "even" and (features.mel_scale, features.mel_norm) != ("htk", "none"):
            raise ConfigError("features.triangles: even goes with mel_scale: htk and mel_norm: none alone")
        self.of = features
        high = features.high_hz or sample_rate / 2
        filters = (_even if features.triangles == "even" else _by_edges)(features, sample_rate, high)
        if empty := int((filters.sum(dim=0) == 0).sum()):
            raise ConfigError(f"features.bands: {empty} of {features.bands} would be empty; take fewer or a longer FFT")
        self.register_buffer("window", _window(features), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        of = self.of
        spectrum = torch.stft(
            samples,
            n_fft=of.fft,
            hop_length=of.hop_size,
            win_length=of.window_size,
            window=self.window,
            center=of.centred,
            pad_mode=of.padding,
            return_complex=True,
        ).abs()
        mel = (spectrum**of.exponent).T @ self.filters  # (frames, bands)
        if of.logarithm == "none":
            return mel
        mel = mel + of.floor if of.floor_is_added else mel.clamp(min=of.floor)
        if of.logarithm == "natural":
            level, decibels = mel.log(), (20 / of.exponent) / math.log(10)
        elif of.logarithm == "base10":
            level, decibels = mel.log10(), 20 / of.exponent
        else:
            level, decibels = (20 / of.exponent) * mel.log10(), 1.0
        return torch.maximum(level, level.max() - of.top_db / decibels) if of.top_db else level


class _Cosine(nn.Module):
    matrix: Tensor

    def __init__(self, bands: int, cepstra: int) -> None:
        super().__init__()
        matrix = load_torchaudio().functional.create_dct(cepstra, bands, norm="ortho")
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        return frames @ self.matrix


def _window(features: Mel) -> Tensor:
    """(window_size,)."""
    if features.window == "rectangular":
        return torch.ones(features.window_size)
    make = {"hann": torch.hann_window, "hamming": torch.hamming_window, "blackman": torch.blackman_window}
    return make[features.window](features.window_size, periodic=not features.symmetric_window)


def _by_edges(features: Mel, sample_rate: int, high: float) -> Tensor:
    """Triangles from the centre of the band before to that of the band after: (fft // 2 + 1, bands)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty bands, which are refused
        filters: Tensor = load_torchaudio().functional.melscale_fbanks(
            n_freqs=features.fft // 2 + 1,
            f_min=features.low_hz,
            f_max=high,
            n_mels=features.bands,
            sample_rate=sample_rate,
            norm=None if features.mel_norm == "none" else features.mel_norm,
            mel_scale=features.mel_scale,
        )
    return filters


def _even(features: Mel, sample_rate: int, high: float) -> Tensor:
    """Triangles as wide on both sides as the distance to the band before: (fft // 2 + 1, bands). SpeechBrain's."""
    low_mel, high_mel = (2595 * math.log10(1 + hz / 700) for hz in (features.low_hz, high))
    edges = 700 * (10 ** (torch.linspace(low_mel, high_mel, features.bands + 2) / 2595) - 1)
    widths, centres = edges[1:-1] - edges[:-2], edges[1:-1]
    bins = torch.linspace(0, sample_rate / 2, features.fft // 2 + 1)
    slopes = (bins[:, None] - centres) / widths
    return torch.minimum(slopes + 1, 1 - slopes).clamp(min=0)
