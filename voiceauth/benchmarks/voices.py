"""Callers with a voice of their own each, made of the sample recordings, and calls that nobody has heard before.

A call that repeats an earlier one is a replay, and is refused. So each call is made of short pieces of the sample in a
random order, each at a pace that varies a little: the voice stays, the recording is new. A customer's voice is the
sample played faster or slower.
"""

import io
from functools import cache
from pathlib import Path

import av
import numpy as np
from django.conf import settings

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.waveform import Waveform, resample

RATE = 8000  # Hz
SPEECH_RATE = 16_000  # of the samples, before they are played faster or slower
ENROLLMENT_SECONDS = 23.0  # of which 20 s must be speech
PIECE_SECONDS = 0.15
FADE_SECONDS = 0.01  # from one piece to the next
SLOWEST, FASTEST = 0.8, 1.25  # times the sample's own pace
PACES = tuple(np.linspace(0.95, 1.05, 31))  # of the pieces, times the voice's own
LOUDNESS = 0.7  # times the sample's, so that no call is clipped


class Voice:
    """The voice number ``number`` of ``count``."""

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self._pace = SLOWEST * (FASTEST / SLOWEST) ** (number / max(1, count - 1))

    def enrollment(self) -> bytes:
        """Return a recording to enroll, long enough for the default policy."""
        return telephone(self._spoken("enroll.ogg")[: int(ENROLLMENT_SECONDS * RATE)])

    def call(self, seconds: float, take: int) -> bytes:
        """Return a call of so many seconds of speech; another ``take`` is another call."""
        random = np.random.default_rng([self.number, take])
        length, fade = int(PIECE_SECONDS * RATE), int(FADE_SECONDS * RATE)
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        samples = np.zeros(int(seconds * RATE) + length, dtype=np.float32)
        for at in range(0, len(samples) - length, length - fade):
            spoken = self._spoken("verify.ogg", random.choice(PACES))
            start = random.integers(len(spoken) - length)
            piece = LOUDNESS * spoken[start : start + length]
            piece[:fade] *= ramp
            piece[-fade:] *= ramp[::-1]
            samples[at : at + length] += piece
        return telephone(samples[: int(seconds * RATE)])

    def _spoken(self, name: str, pace: float = 1.0) -> np.ndarray:
        return _at_pace(name, self._pace * pace)


@cache
def _at_pace(name: str, pace: float) -> np.ndarray:
    waveform = _speech(name)
    return resample(waveform.samples, round(waveform.sample_rate * pace), RATE)


@cache
def _speech(name: str) -> Waveform:
    """Return what is spoken in one of the sample recordings, without its pauses."""
    waveform = decode(Path(settings.BASE_DIR, "docs", "samples", name).read_bytes())
    samples = resample(waveform.samples, waveform.sample_rate, SPEECH_RATE)
    return quality.speech_only(Waveform(samples, SPEECH_RATE))


def telephone(samples: np.ndarray) -> bytes:
    """Encode samples at ``RATE`` as telephone systems record them: mu-law in a WAV file."""
    return encoded(samples, container="wav", codec="pcm_mulaw", rate=RATE)


def encoded(
    samples: np.ndarray, *, container: str, codec: str, rate: int, layout: str = "mono", **options: str
) -> bytes:
    """Encode samples (n,), the same on every channel of ``layout``."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=options)
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.open()
        resampler = av.AudioResampler(format=context.format, layout=layout, rate=rate, frame_size=context.frame_size)
        packed = np.repeat(samples.astype(np.float32), len(context.layout.channels))[None]
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = rate
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            file.mux(context.encode(piece))
    return buffer.getvalue()
