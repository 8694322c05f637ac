"""The windows of a recording's speech by which ``speech.scoring.one_voice`` tells whether one person speaks.

They are cut here for encoders that do not tell of windows while they embed the whole.
"""

from dataclasses import dataclass, replace

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform

WINDOW_SECONDS = 1.0  # of net speech; windows overlap by half
MOST_WINDOWS = 40  # longer speech has longer windows, up to
MOST_WINDOW_SECONDS = 2.0  # and then gaps between them, so that a call of two minutes costs no more than one of 40 s


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of net speech, and where it begins in the recording."""

    start_seconds: float
    waveform: Waveform


def windows(waveform: Waveform) -> list[Window]:
    """Cut the net speech into windows of the same length, each half a window after the one before.

    The windows of more than about 40 s of speech are spread over all of it.
    """
    speech = quality.speech_only(waveform)
    rate, count = speech.sample_rate, len(speech.samples)
    length = max(round(WINDOW_SECONDS * rate), 2 * count // (MOST_WINDOWS + 1))
    length = min(length, round(MOST_WINDOW_SECONDS * rate))
    step = max(1, length // 2, (count - length) // (MOST_WINDOWS - 1))
    return [
        Window(place(waveform, start / rate), replace(speech, samples=speech.samples[start : start + length]))
        for start in range(0, count - length + 1, step)
    ]


def place(waveform: Waveform, spoken: float) -> float:
    """Return where in the recording ``spoken`` seconds of net speech are over."""
    for start, end in quality.speech_segments(waveform):
        if spoken < end - start:
            return start + spoken
        spoken -= end - start
    return waveform.duration_seconds
