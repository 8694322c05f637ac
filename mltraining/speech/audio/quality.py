"""Speech, noise and clipping in a recording: the measurements that decide whether a sample is accepted.

Noise and clipping are measured in the speech alone. Ringing, tones and music around it are no noise of the caller's,
and the detector does not take them for speech: of 16 made-up tunes of 12 s it took 0.3 s of one.
"""

import functools
import importlib.util
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from mltraining.speech.audio import measures
from mltraining.speech.audio.channels import level_dbfs
from mltraining.speech.audio.measures import FRAME, RATE, runs
from mltraining.speech.audio.waveform import Waveform, resample

# RATE and FRAME are the detector's. On G.711 upsampled to it, 98.1 % of frames are decided as on the wideband original.
# The detector's own 8 kHz form reaches 98.5 %, but takes one frame a call.
CONTEXT = 64  # samples: each frame is preceded by the end of the one before
# After two seconds without speech the detector starts anew each second, and first listens to the half second before.
# Its memory of ten seconds of music makes it miss a quarter of the words that follow. Within speech it keeps its
# memory: where it started anew there, it missed an eighth of the speech on a telephone line.
BLOCK_FRAMES, WARM_FRAMES, QUIET_BLOCKS = 31, 16, 2

# The smoothing is Silero's: speech starts at 0.5 and ends only below 0.35, bursts under 0.1 s are dropped, and a pause
# inside speech counts as speech up to 0.3 s, because stop closures and gaps between words are part of speaking.
START_PROBABILITY, STOP_PROBABILITY = 0.5, 0.35
MIN_SPEECH_SECONDS, MAX_PAUSE_SECONDS = 0.1, 0.3

MIN_SPEECH_ONLY_SECONDS = 0.3
FEW_FRAMES = 10  # of certain speech tell no more than its pauses and ends do


@dataclass(frozen=True)
class Quality:
    """Durations in seconds; speech power over noise power in dB; the share of speech that is clipped."""

    duration_seconds: float
    speech_seconds: float
    snr_db: float
    clipping_ratio: float


def measure(waveform: Waveform) -> Quality:
    """Measure net speech, signal-to-noise ratio and clipping. Without speech, ``snr_db`` is 0."""
    found = _detected(waveform)
    return Quality(
        duration_seconds=waveform.duration_seconds,
        speech_seconds=min(float(found.speech.sum()) * FRAME / RATE, waveform.duration_seconds),
        snr_db=measures.snr_db(found.samples, found.certain),
        clipping_ratio=measures.clipped_share(found.samples, found.certain, waveform.samples, waveform.sample_rate),
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
    end = waveform.duration_seconds
    found = runs(_detected(waveform).speech)
    return [(first * FRAME / RATE, min(last * FRAME / RATE, end)) for first, last in found]


@dataclass(frozen=True, eq=False)
class _Detected:
    """Levelled samples (n,) at RATE, and which of their frames are speech, (frames,) bool.

    ``certain`` leaves out the short pauses and the ends of words that ``speech`` takes in.
    """

    samples: np.ndarray
    speech: np.ndarray
    certain: np.ndarray


# A recording is measured and embedded, and both need its speech, so it is detected once while the waveform lives.
_known: "weakref.WeakKeyDictionary[Waveform, _Detected]" = weakref.WeakKeyDictionary()


def _detected(waveform: Waveform) -> _Detected:
    if waveform not in _known:
        samples = measures.levelled(resample(waveform.samples, waveform.sample_rate, RATE))
        probabilities = _probabilities(samples)
        speech = _smooth(probabilities)
        certain = speech & (probabilities >= START_PROBABILITY)
        _known[waveform] = _Detected(samples, speech, certain if certain.sum() >= FEW_FRAMES else speech)
    return _known[waveform]


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
    if not count:
        return np.zeros(0, dtype=np.float32)
    padded = np.zeros(CONTEXT + count * FRAME, dtype=np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]  # (count, 576)
    hidden = cell = start = np.zeros((1, 1, 128), dtype=np.float32)
    blocks: list[np.ndarray] = []
    quiet = 0  # blocks in a row without speech
    for first in range(0, count, BLOCK_FRAMES):
        begin = first
        if quiet >= QUIET_BLOCKS:
            begin, hidden, cell = first - WARM_FRAMES, start, start
        block = np.ascontiguousarray(frames[begin : first + BLOCK_FRAMES])
        values, hidden, cell = _detector().run(["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell})
        blocks.append(values.reshape(-1)[first - begin :])
        quiet = 0 if blocks[-1].max() >= START_PROBABILITY else quiet + 1
    return np.concatenate(blocks)


def _smooth(probabilities: np.ndarray) -> np.ndarray:
    """(frames,) bool: speech with hysteresis, short bursts dropped, short pauses filled."""
    speech = np.zeros(len(probabilities), dtype=bool)
    for first, last in runs(probabilities >= STOP_PROBABILITY):
        begun = np.flatnonzero(probabilities[first:last] >= START_PROBABILITY)
        if len(begun):
            speech[first + begun[0] : last] = True
    for first, last in runs(~speech):
        if first > 0 and last < len(speech) and (last - first) * FRAME <= MAX_PAUSE_SECONDS * RATE:
            speech[first:last] = True
    for first, last in runs(speech):
        if (last - first) * FRAME < MIN_SPEECH_SECONDS * RATE:
            speech[first:last] = False
    return speech
