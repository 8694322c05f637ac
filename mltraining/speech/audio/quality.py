"""Speech, noise and clipping in a recording: the measurements that decide whether a sample is accepted."""

import functools
import importlib.util
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from mltraining.speech.audio.channels import level_dbfs
from mltraining.speech.audio.waveform import Waveform, resample

# Hz; the detector's. On G.711 upsampled to it, 98.1 % of frames are decided as on the wideband original. The detector's
# own 8 kHz form reaches 98.5 %, but takes one frame a call.
RATE = 16_000
FRAME, CONTEXT = 512, 64  # samples; 32 ms frames, each preceded by the end of the one before
BLOCK_FRAMES = 512  # 16 s of audio a call bounds the detector's memory

# The smoothing is Silero's: speech starts at 0.5 and ends only below 0.35, bursts under 0.1 s are dropped, and a pause
# inside speech counts as speech up to 0.3 s, because stop closures and gaps between words are part of speaking.
START_PROBABILITY, STOP_PROBABILITY = 0.5, 0.35
MIN_SPEECH_SECONDS, MAX_PAUSE_SECONDS = 0.1, 0.3

FULL_SCALE = 0.98  # the largest G.711 mu-law value is 0.9803, A-law 0.9844
CLIPPED_RUN = 3  # samples in a row at full scale up to 16 kHz, in proportion above; a lone peak is not clipping
NOISE_FRAMES = 10  # fewer frames (0.32 s) without speech do not measure the noise
MAX_SNR_DB = 80.0
MIN_SPEECH_ONLY_SECONDS = 0.3


@dataclass(frozen=True)
class Quality:
    """Durations in seconds; speech power over noise power in dB; the share of samples that are clipped."""

    duration_seconds: float
    speech_seconds: float
    snr_db: float
    clipping_ratio: float


def measure(waveform: Waveform) -> Quality:
    """Measure net speech, signal-to-noise ratio and clipping. Without speech, ``snr_db`` is 0."""
    samples, speech = _speech(waveform)
    return Quality(
        duration_seconds=waveform.duration_seconds,
        speech_seconds=min(float(speech.sum()) * FRAME / RATE, waveform.duration_seconds),
        snr_db=_snr_db(samples, speech),
        clipping_ratio=_clipping_ratio(waveform),
    )


@dataclass(frozen=True)
class ChannelQuality:
    """What tells a person which channel is which: net speech in seconds, and the level in decibels of full scale."""

    channel: int  # from 0; of two, 0 is the left one
    speech_seconds: float
    level_dbfs: float


def measure_channels(channels: Sequence[Waveform]) -> list[ChannelQuality]:
    """Measure each channel of a recording."""
    return [
        ChannelQuality(number, measure(each).speech_seconds, level_dbfs(each.samples))
        for number, each in enumerate(channels)
    ]


def speech_only(waveform: Waveform) -> Waveform:
    """Cut the pauses out. A waveform with less than 0.3 s of speech is returned as it is."""
    rate = waveform.sample_rate
    pieces = [waveform.samples[round(start * rate) : round(end * rate)] for start, end in speech_segments(waveform)]
    if sum(map(len, pieces)) < MIN_SPEECH_ONLY_SECONDS * rate:
        return waveform
    return replace(waveform, samples=np.concatenate(pieces))


def speech_segments(waveform: Waveform) -> list[tuple[float, float]]:
    """Find the stretches of speech: (start, end) in seconds each."""
    _, speech = _speech(waveform)
    end = waveform.duration_seconds
    return [(first * FRAME / RATE, min(last * FRAME / RATE, end)) for first, last in _runs(speech)]


# A recording is measured and embedded, and both need its speech, so it is detected once while the waveform lives.
_detected: "weakref.WeakKeyDictionary[Waveform, tuple[np.ndarray, np.ndarray]]" = weakref.WeakKeyDictionary()


def _speech(waveform: Waveform) -> tuple[np.ndarray, np.ndarray]:
    """Samples at RATE, (n,), and which of their frames are speech, (frames,) bool."""
    if waveform not in _detected:
        samples = resample(waveform.samples, waveform.sample_rate, RATE)
        _detected[waveform] = samples, _smooth(_probabilities(samples))
    return _detected[waveform]


@functools.cache
def _detector() -> onnxruntime.InferenceSession:
    """Silero VAD in its form for whole sequences, from the wheel's data; the package itself is not imported."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("silero-vad is not installed: pip install -r requirements.txt")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _probabilities(samples: np.ndarray) -> np.ndarray:
    """Probability of speech in each 32 ms frame, (ceil(n / 512),), of (n,) samples at 16 kHz."""
    count = -(-len(samples) // FRAME)
    padded = np.zeros(CONTEXT + count * FRAME, dtype=np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]  # (count, 576)
    hidden = cell = np.zeros((1, 1, 128), dtype=np.float32)
    blocks = []
    for first in range(0, count, BLOCK_FRAMES):
        block = np.ascontiguousarray(frames[first : first + BLOCK_FRAMES])
        values, hidden, cell = _detector().run(["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell})
        blocks.append(values.reshape(-1))
    return np.concatenate(blocks)


def _smooth(probabilities: np.ndarray) -> np.ndarray:
    """(frames,) bool: speech with hysteresis, short bursts dropped, short pauses filled."""
    speech = np.zeros(len(probabilities), dtype=bool)
    for first, last in _runs(probabilities >= STOP_PROBABILITY):
        begun = np.flatnonzero(probabilities[first:last] >= START_PROBABILITY)
        if len(begun):
            speech[first + begun[0] : last] = True
    for first, last in _runs(~speech):
        if first > 0 and last < len(speech) and (last - first) * FRAME <= MAX_PAUSE_SECONDS * RATE:
            speech[first:last] = True
    for first, last in _runs(speech):
        if (last - first) * FRAME < MIN_SPEECH_SECONDS * RATE:
            speech[first:last] = False
    return speech


def _snr_db(samples: np.ndarray, speech: np.ndarray) -> float:
    """10 log10 of (speech power - noise power) / noise power, from the frames' powers.

    The noise is the mean power of the quieter half of the frames without speech: the louder half holds what speech
    the detector missed, mostly onsets. Where such frames are few (speech cut tightly) the quietest tenth of all
    frames stands in; between two words it still holds some speech, so the ratio errs to the low side.
    """
    whole = len(samples) // FRAME
    if not speech[:whole].any():
        return 0.0
    frames = samples[: whole * FRAME].reshape(whole, FRAME).astype(np.float64)
    power = np.var(frames, axis=1)  # the direct current is no sound
    speech = speech[:whole]
    # The frames beside speech carry its tails, and digital silence (a muted line) is no measure of the noise.
    away = ~(speech | np.append(speech[1:], False) | np.append(False, speech[:-1])) & (power > 0)
    floor, share = (power[away], 2) if away.sum() >= NOISE_FRAMES else (power[power > 0], 10)
    noise = np.sort(floor)[: max(1, len(floor) // share)].mean()
    ratio = max(power[speech].mean() - noise, 0.0) / noise
    return float(np.clip(10 * np.log10(max(ratio, 1e-9)), -20.0, MAX_SNR_DB))


def _clipping_ratio(waveform: Waveform) -> float:
    shortest = CLIPPED_RUN * max(1.0, waveform.sample_rate / RATE)
    runs = _runs(np.abs(waveform.samples) >= FULL_SCALE)
    return sum(last - first for first, last in runs if last - first >= shortest) / len(waveform.samples)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, one past last) of each run of True."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
