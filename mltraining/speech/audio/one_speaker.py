"""The windows of a recording's speech by which ``speech.scoring.one_voice`` tells whether one person speaks."""

from dataclasses import dataclass, replace

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform

WINDOW_SECONDS = 1.0  # of net speech; windows overlap by half
MOST_WINDOWS = 40  # longer speech has longer windows, so that they take about twice as long as the speech itself


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of net speech, and where it begins in the recording."""

    start_seconds: float
    waveform: Waveform


def windows(waveform: Waveform) -> list[Window]:
    """Cut the net speech into windows of the same length, each half a window after the one before."""
    speech = quality.speech_only(waveform)
    rate, count = speech.sample_rate, len(speech.samples)
    length = max(round(WINDOW_SECONDS * rate), 2 * count // (MOST_WINDOWS + 1))
    return [
        Window(_place(waveform, start / rate), replace(speech, samples=speech.samples[start : start + length]))
        for start in range(0, count - length + 1, max(1, length // 2))
    ]


def _place(waveform: Waveform, spoken: float) -> float:
    """Where in the recording ``spoken`` seconds of net speech are over."""
    for start, end in quality.speech_segments(waveform):
        if spoken < end - start:
            return start + spoken
        spoken -= end - start
    return waveform.duration_seconds
