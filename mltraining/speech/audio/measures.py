"""Signal-to-noise ratio and clipping of the speech in a recording. What is outside of speech has no part in them.

The arguments are the detector's: samples (n,) float at ``RATE`` without direct current and hum, and which of their
frames of ``FRAME`` samples are speech, (frames,) bool.
"""

from dataclasses import replace

import numpy as np
from scipy import fft, ndimage

from mltraining.speech.audio.waveform import Waveform

RATE, FRAME = 16_000, 512  # Hz, samples: 32 ms
BAND = (300.0, 3400.0)  # Hz, what every telephone line carries
HOP = FRAME // 2
SMOOTHED = 4  # spectra, 80 ms: the power of noise alone varies too much from one to the next
SEARCHED = 94  # spectra, 1.5 s: so long nobody speaks without leaving each frequency free once
SNR_DB = (-20.0, 80.0)  # the range of what is answered

CEILING = 0.98  # of the loudest sample: a G.711 step at full scale is 3 % wide, and clipping fills the topmost
CLIPPED_RUN = 3  # samples in a row at the ceiling up to 16 kHz, in proportion above; a lone peak is not clipping
LOUD_FRAMES = 10  # fewer frames of speech (0.3 s) have no shape
# What the shape of speech tells of the share of its samples that were clipped: medians over 60 clips, overdriven by 9
# to 28 dB and then sent through codecs and lines. Of 420 clips that were not clipped, none is under 0.3, and an even,
# synthetic voice is at 0.04.
PEAKS_WEIGHT = 0.25  # of a decibel between the peaks of frames, beside the kurtosis
SHAPE = ((-1.3, 0.4), (-0.9, 0.3), (-0.7, 0.15), (-0.25, 0.1), (-0.1, 0.05), (0.1, 0.03), (0.6, 0.01), (1.2, 0.0))


def snr_db(samples: np.ndarray, speech: np.ndarray) -> float:
    """Measure speech power over noise power in the telephone band, in decibels. Without speech it is 0.

    The noise at each frequency is the least of its power within ``SEARCHED`` spectra of speech (minimum statistics;
    Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics", 2001). Pauses
    have no part in it: a line that is muted or gated between the words would have none, and music before the call is
    no noise in it. Speech without noise reads about 25 dB.
    """
    power = _spectra(samples)
    speaking = np.repeat(speech, FRAME // HOP)[: len(power)]
    power = power[speaking[: len(power)]]
    power = power[power.sum(axis=1) > 0]  # digital silence is no measure of the noise
    if not len(power):
        return 0.0
    total = float(power.sum(axis=1).mean())
    # A running mean may come out a little below zero where loud frames are beside silent ones.
    noise = float(np.clip(_floor(power).sum(axis=1).mean() / _shrinkage(), 1e-9 * total, total))
    return float(np.clip(10 * np.log10(max(total - noise, 1e-9 * noise) / noise), *SNR_DB))


def clipped_share(samples: np.ndarray, speech: np.ndarray, original: np.ndarray, sample_rate: int) -> float:
    """Estimate the share of the samples of speech that were clipped, at full scale or before a gain, codec or line.

    It is the larger of two measures: the share in runs at the recording's own ceiling, of ``original`` (m,) at
    ``sample_rate``; and an estimate from the shape of speech, which a codec or a line changes little. Clipping makes
    the histogram of the louder frames flat, so that its kurtosis falls, and their peaks all alike.
    """
    return max(_at_ceiling(original, speech, sample_rate), _by_shape(samples, speech))


def _spectra(samples: np.ndarray) -> np.ndarray:
    """Power in the telephone band, (spectra, bins)."""
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.hanning(FRAME).astype(np.float32)
    low, high = (round(edge * FRAME / RATE) for edge in BAND)
    return np.square(np.abs(np.fft.rfft(frames, axis=1)[:, low : high + 1]), dtype=np.float64)


def _floor(power: np.ndarray) -> np.ndarray:
    smooth = ndimage.uniform_filter1d(power, SMOOTHED, axis=0, mode="nearest")
    return np.asarray(ndimage.minimum_filter1d(smooth, SEARCHED, axis=0, mode="nearest"))


_SHRINKAGE: list[float] = []


def _shrinkage() -> float:
    """How much lower the least power of white noise is than its mean: of ten seconds of it, once."""
    if not _SHRINKAGE:
        power = _spectra(np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32))
        _SHRINKAGE.append(float(_floor(power).mean() / power.mean()))
    return _SHRINKAGE[0]


def _at_ceiling(original: np.ndarray, speech: np.ndarray, sample_rate: int) -> float:
    where = np.repeat(speech, FRAME)
    at = np.arange(len(original)) * RATE // sample_rate
    heard = original[where[np.minimum(at, len(where) - 1)]] if len(where) else original[:0]
    if not len(heard):
        return 0.0
    heard = heard - np.median(heard)
    shortest = CLIPPED_RUN * max(1.0, sample_rate / RATE)
    clipped = 0
    for side in (heard, -heard):
        top = float(side.max())
        if top > 0:
            clipped += sum(last - first for first, last in runs(side >= CEILING * top) if last - first >= shortest)
    return clipped / len(heard)


def _by_shape(samples: np.ndarray, speech: np.ndarray) -> float:
    whole = min(len(samples) // FRAME, len(speech))
    frames = samples[: whole * FRAME].reshape(whole, FRAME)[speech[:whole]].astype(np.float64)
    if len(frames) < LOUD_FRAMES:
        return 0.0
    power = np.square(frames).mean(axis=1)
    loud = frames[power >= np.median(power)]
    peaks = np.quantile(np.abs(frames).max(axis=1), (0.5, 0.95))
    squares = np.square(loud)
    spread = float(squares.mean())
    if not spread or not peaks[0]:
        return 0.0
    kurtosis = float(np.square(squares).mean()) / spread**2 - 3
    at, share = np.array(SHAPE).T
    return float(np.interp(kurtosis + PEAKS_WEIGHT * 20 * np.log10(peaks[1] / peaks[0]), at, share))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Find the runs of True in (n,) bool: (first, one past last) each."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


# --- what is no sound of the call: direct current and hum -------------------------------------------

LOWEST = 100.0  # Hz: below are direct current, hum and rumble; a telephone carries nothing from there
EDGE = RATE // 10  # samples that the filter takes to settle
LEVEL = 0.1  # root mean square, -20 dBFS: where the detector is at its best
SILENCE = 1e-7  # root mean square; below, there is nothing to raise
DIRECT = 0.1  # of the root mean square: direct current beyond this is taken off what is embedded
QUIETEST = 0.03  # root mean square, -30 dBFS: softer speech comes near the 16-bit grid that features are computed on


def levelled(samples: np.ndarray) -> np.ndarray:
    """Take direct current and hum off, and bring the louder frames to one level: (n,) at ``RATE`` -> (n,) float32.

    The filter has zero phase, because a shift of phases would hide the shape of clipped speech.
    """
    if len(samples) < FRAME:
        return samples
    high = _without_rumble(samples - samples.mean())
    power = np.square(high[: len(high) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
    total = power.sum()
    level = np.sqrt(np.square(power).sum() / total) if total > 0 else 0.0  # weighted by power: silence counts nothing
    return np.clip(high * (LEVEL / level if level > SILENCE else 1.0), -1, 1).astype(np.float32)


def _without_rumble(samples: np.ndarray) -> np.ndarray:
    """Filter (n,) by a second-order Butterworth high-pass at ``LOWEST``, forwards and backwards.

    It is done in the frequency domain: ``scipy.signal`` would take 49 MB of each scoring worker for this alone.
    """
    edge = min(EDGE, len(samples) - 1)  # mirrored through the ends, so that nothing jumps there
    start, end = 2 * samples[0] - samples[edge:0:-1], 2 * samples[-1] - samples[-2 : -edge - 2 : -1]
    padded = np.concatenate([start, samples, end])
    length = fft.next_fast_len(len(padded), real=True)
    tangent = np.tan(np.pi * np.arange(length // 2 + 1) / length)
    power = 1 / (1 + (np.tan(np.pi * LOWEST / RATE) / np.maximum(tangent, 1e-9)) ** 4)
    filtered = fft.irfft(fft.rfft(padded, length) * power.astype(np.float32), length)
    return np.asarray(filtered[edge : edge + len(samples)])


def audible(waveform: Waveform) -> Waveform:
    """Take strong direct current off, and raise what is softer than ``QUIETEST`` to it.

    An ordinary recording is returned as it is, so that it is embedded as training heard it.
    """
    samples = waveform.samples
    mean = float(np.mean(samples, dtype=np.float64)) if len(samples) else 0.0
    level = float(np.std(samples, dtype=np.float64)) if len(samples) else 0.0
    gain = QUIETEST / level if SILENCE < level < QUIETEST else 1.0
    if abs(mean) <= DIRECT * level and gain == 1.0:
        return waveform
    return replace(waveform, samples=((samples - np.float32(mean)) * np.float32(gain)).astype(np.float32))
