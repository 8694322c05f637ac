"""Which channel of a recording is heard. Call recorders write the agent and the customer side by side: mixed, the two
voices give the embedding of neither.

Two channels are the same where they hold the same sound, whatever its level and phase: their correlation is near 1 or
-1 in almost every stretch in which either of them has sound. Measured on speech of 16 kHz: through MP3, AAC or Opus in
stereo, or G.711 in one channel alone, no stretch of the same sound has less than 0.95, and of two speakers none has
more than 0.5. Where the echo of one speaker is 10 dB down in the other's channel, the stretches in which the other
speaks have 0.7 at most.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform

MONO = "mono"
NAMES = {"left": 0, "right": 1}
MAX_CHANNELS = 8
PATTERN = rf"^(left|right|{MONO}|[0-{MAX_CHANNELS - 1}])\Z"

COMPARED_RATE = 8_000  # Hz: every so many samples are compared; what is the same stays the same without those between
STRETCH_SECONDS = 0.5
LEAST_CORRELATION = 0.9
LEAST_SHARE = 0.98  # of the stretches with sound; of a short recording all of them
QUIET = 0.01  # of the power of a channel's loudest stretch: quieter stretches may be noise, which is each line's own
SILENCE_PEAK = 1e-4  # -80 dBFS, after the direct current is taken off (silent A-law is a constant)

Planes = Sequence[np.ndarray]  # (n,) float32 in [-1, 1] each


class ChannelRequired(AudioError):
    """A recording whose channels differ, and nobody said which one counts. ``channels`` holds each as a waveform."""

    def __init__(self, channels: list[Waveform]) -> None:
        self.channels = channels
        super().__init__("channel_required", count=len(channels))


def choose(planes: Planes, recording: Waveform, channel: str | None, default: str | None) -> Waveform:
    """Return ``recording`` with the samples of one channel, or of the mix.

    Of channels that are the same, and without ``channel``, it takes the loudest one; of those that differ ``default``.
    Raises AudioError where the recording lacks the channel, and ChannelRequired where none is named and they differ.
    """
    one = the_one(planes, recording.sample_rate)
    named = channel or (default if one is None else None)
    if named is None:
        if one is None:
            raise ChannelRequired([replace(recording, samples=plane) for plane in planes])
        return replace(recording, samples=one)
    index = index_of(named)
    if index is None:
        samples = mix(planes, recording.sample_rate)
    elif index < len(planes):
        samples = planes[index]
    else:
        raise AudioError("no_such_channel", channel=named, count=len(planes))
    return replace(recording, samples=samples, channel=named if one is None else "")


def index_of(channel: str) -> int | None:
    """Return the number of the channel that a caller names, from 0; ``None`` for the mix. Raises ValueError."""
    if channel == MONO:
        return None
    if channel in NAMES:
        return NAMES[channel]
    if len(channel) == 1 and channel in "01234567":
        return int(channel)
    raise ValueError(f"{channel!r} is no channel: give left, right, {MONO}, or a number from 0 to {MAX_CHANNELS - 1}")


def the_one(planes: Planes, sample_rate: int) -> np.ndarray | None:
    """Return the loudest channel, (n,), where all channels with sound are the same; ``None`` where they differ."""
    sounding = [plane for plane in planes if not is_silent(plane)] or [planes[0]]
    loudest = max(sounding, key=_power)
    if all(plane is loudest or are_same(plane, loudest, sample_rate) for plane in sounding):
        return loudest
    return None


def mix(planes: Planes, sample_rate: int) -> np.ndarray:
    """Return the channels' mean, (n,). Channels that are the same count once, so that opposite phases do not cancel."""
    one = the_one(planes, sample_rate)
    return np.asarray(np.mean(planes, axis=0, dtype=np.float32)) if one is None else one


def are_same(one: np.ndarray, other: np.ndarray, sample_rate: int) -> bool:
    """Whether two channels (n,) hold the same sound, see above."""
    first, second = _stretches(one, sample_rate), _stretches(other, sample_rate)
    powers = [np.einsum("ij,ij->i", each, each) for each in (first, second)]
    sounding = (powers[0] > QUIET * powers[0].max()) | (powers[1] > QUIET * powers[1].max())
    if not sounding.any():
        return True
    product = np.abs(np.einsum("ij,ij->i", first, second))[sounding]
    correlation = product / np.sqrt(powers[0][sounding] * powers[1][sounding] + np.finfo(float).tiny)
    return bool((correlation >= LEAST_CORRELATION).mean() >= LEAST_SHARE)


def is_silent(plane: np.ndarray) -> bool:
    """Whether a channel (n,) holds nothing but direct current."""
    return len(plane) == 0 or bool(np.abs(plane - plane.mean()).max() < SILENCE_PEAK)


def level_dbfs(plane: np.ndarray) -> float:
    """Return the level of a channel (n,): its root mean square in decibels of full scale, at least -100."""
    return float(10 * np.log10(max(_power(plane), 1e-10)))


def _power(plane: np.ndarray) -> float:
    return float(np.square(plane - plane.mean(), dtype=np.float64).mean()) if len(plane) else 0.0


def _stretches(plane: np.ndarray, sample_rate: int) -> np.ndarray:
    """(stretches, samples) float64 without direct current; what is left over at the end is not used."""
    step = max(1, sample_rate // COMPARED_RATE)
    plane = plane[::step]
    length = max(1, min(len(plane), round(STRETCH_SECONDS * sample_rate / step)))
    whole = plane[: len(plane) // length * length].astype(np.float64)
    return np.asarray(whole - whole.mean()).reshape(-1, length)
