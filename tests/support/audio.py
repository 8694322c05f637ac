"""Synthetic voices, tones and telephone-system encodings. Deterministic; not speech of anyone."""

import io
import struct
import wave
from functools import cache

import av
import numpy as np

from voiceauth.demo import voices

# name: (container, codec, sample rate in Hz, sample format, encoder options)
FORMATS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "wav": ("wav", "pcm_s16le", 16_000, {}),
    "wav_float": ("wav", "pcm_f32le", 16_000, {}),
    "wav_24_bit": ("wav", "pcm_s24le", 44_100, {}),
    "wav_8_bit": ("wav", "pcm_u8", 8_000, {}),
    "wav_mulaw": ("wav", "pcm_mulaw", 8_000, {}),
    "wav_alaw": ("wav", "pcm_alaw", 8_000, {}),
    "wav_ima_adpcm": ("wav", "adpcm_ima_wav", 8_000, {}),
    "ogg_opus": ("ogg", "libopus", 16_000, {"b": "24000"}),
    "webm_opus": ("webm", "libopus", 48_000, {"b": "32000"}),
    "mp3": ("mp3", "libmp3lame", 16_000, {"b": "32000"}),
    "flac": ("flac", "flac", 16_000, {}),
    "m4a": ("ipod", "aac", 16_000, {"b": "48000"}),
    "aac": ("adts", "aac", 16_000, {"b": "48000"}),
    "amr_nb": ("amr", "libopencore_amrnb", 8_000, {"b": "12200"}),
    "au": ("au", "pcm_mulaw", 8_000, {}),
    "aiff": ("aiff", "pcm_s16be", 16_000, {}),
    "caf": ("caf", "pcm_s16le", 16_000, {}),
    "caf_ima4": ("caf", "adpcm_ima_qt", 8_000, {}),
    "aifc_ima4": ("aiff", "adpcm_ima_qt", 8_000, {}),
    "alac": ("ipod", "alac", 16_000, {}),
    "w64": ("w64", "pcm_s16le", 16_000, {}),
    "wav_g723_1": ("wav", "g723_1", 8_000, {"b": "6300"}),
    "wma": ("asf", "wmav2", 16_000, {"b": "32000"}),
    "avi": ("avi", "pcm_s16le", 16_000, {}),
    "mpeg_ts": ("mpegts", "aac", 16_000, {"b": "48000"}),
    "mpeg_ts_mp2": ("mpegts", "mp2", 16_000, {"b": "64000"}),
    "mulaw": ("mulaw", "pcm_mulaw", 8_000, {}),
    "alaw": ("alaw", "pcm_alaw", 8_000, {}),
    "g722": ("g722", "g722", 16_000, {}),
    "s16le": ("s16le", "pcm_s16le", 8_000, {}),
    "s16le-16000": ("s16le", "pcm_s16le", 16_000, {}),
    "s16be": ("s16be", "pcm_s16be", 8_000, {}),
    "s16be-16000": ("s16be", "pcm_s16be", 16_000, {}),
}
HEADERLESS = ("mulaw", "alaw", "g722", "s16le", "s16le-16000", "s16be", "s16be-16000")


# First four formants (Hz) of an average adult's a, e, i, o, u and schwa.
VOWELS = np.array(
    [
        [730, 1090, 2440, 3500],
        [530, 1840, 2480, 3600],
        [270, 2290, 3010, 3700],
        [570, 840, 2410, 3400],
        [300, 870, 2240, 3300],
        [500, 1500, 2500, 3500],
    ],
    dtype=float,
)
BANDWIDTHS = np.array([60.0, 90.0, 130.0, 180.0])


def voice(speaker: int, *, seconds: float = 3.0, sample_rate: int = 16_000, take: int = 0) -> np.ndarray:
    """One utterance of a synthetic speaker: (seconds * sample_rate,) float32, peak 0.5.

    A harmonic source at the speaker's own pitch goes through formants that glide from vowel to vowel, scaled by the
    speaker's own vocal tract; hiss stands for consonants. ``take`` changes the words, not the voice.
    """
    return _utterance(speaker, seconds, sample_rate, take).copy()


@cache
def _utterance(speaker: int, seconds: float, sample_rate: int, take: int) -> np.ndarray:
    own = np.random.default_rng([speaker, 7])
    pitch, tract, tilt = own.uniform(90, 230), own.uniform(0.85, 1.2), own.uniform(0.9, 1.3)
    widths, shifts = own.uniform(0.8, 1.5, size=4), own.uniform(0.93, 1.07, size=4)
    words = np.random.default_rng([speaker, take, 11])

    count = round(seconds * sample_rate)
    time = np.arange(count) / sample_rate
    starts = np.cumsum(words.uniform(0.16, 0.28, size=int(seconds / 0.16) + 2))
    targets = VOWELS[words.integers(len(VOWELS), size=len(starts))] * tract * shifts
    formants = np.stack([np.interp(time, starts, targets[:, place]) for place in range(4)])  # (4, n)
    syllable = starts[np.searchsorted(starts, time).clip(0, len(starts) - 1)] - time  # time to its end
    loudness = np.clip(np.sin(np.pi * syllable / 0.22), 0.06, 1) ** 0.6
    loudness *= np.clip(np.minimum(time - 0.1, seconds - 0.1 - time) / 0.03, 0, 1)

    melody = np.interp(time, starts, words.uniform(0.85, 1.2, size=len(starts)))
    jitter = 1 + 0.01 * np.interp(time, time[::80], words.normal(size=len(time[::80])))
    phase = 2 * np.pi * np.cumsum(pitch * melody * jitter) / sample_rate
    samples = np.zeros(count)
    for harmonic in range(1, int(min(4000, 0.45 * sample_rate) / (1.2 * pitch)) + 1):
        frequency = harmonic * pitch * melody
        envelope = (1 / (1 + ((frequency - formants) / (BANDWIDTHS * widths)[:, None]) ** 2)).sum(axis=0)
        samples += (envelope + 0.01) * harmonic**-tilt * np.sin(harmonic * phase)
    hiss = np.diff(words.normal(size=count + 1)) * np.clip(np.sin(np.pi * (syllable + 0.1) / 0.22), 0, 1) ** 4
    samples = loudness * samples / np.abs(samples).max() + 0.01 * hiss * (loudness > 0) + words.normal(0, 1e-4, count)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


@cache
def demo_voice(speaker: int, take: int = 0) -> bytes:
    """A recording of the demo's: 7 s of a WAV file that hold about five seconds of net speech."""
    return voices.recording(speaker, take)


def encode(samples: np.ndarray, name: str = "wav", *, source_rate: int = 16_000) -> bytes:
    """``samples`` ((n,) or (channels, n) float in [-1, 1]) in the encoding that FORMATS calls ``name``."""
    container_name, codec, rate, options = FORMATS[name]
    planes = np.atleast_2d(samples).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        context = stream.codec_context
        assert isinstance(context, av.AudioCodecContext)
        context.layout = layout
        context.format = (context.codec.audio_formats or [])[0]
        context.open()
        resampler = av.AudioResampler(
            format=context.format, layout=layout, rate=rate, frame_size=context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format="fltp", layout=layout)
        frame.sample_rate = source_rate
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(context.encode(piece))
    return buffer.getvalue()


class Pipe:
    """Takes what is written and cannot seek, as a browser's recorder cannot."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


def wav(samples: np.ndarray, sample_rate: int = 16_000) -> bytes:
    """Mono or, for (channels, n), multi-channel PCM16 WAV, written by the standard library."""
    planes = np.atleast_2d(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(planes))
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(planes.T, -1, 1) * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def tone(hertz: float, seconds: float = 1.0, sample_rate: int = 8000) -> bytes:
    """A WAV file of a sine wave, as a telephone system would send it: mono, 16 bit."""
    return wav(0.25 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate), sample_rate)


def mu_law(seconds: float = 1.0, sample_rate: int = 8000) -> bytes:
    """A G.711 mu-law WAV file: a square wave of 200 Hz."""
    half = sample_rate // 400
    samples = (b"\x90" * half + b"\x10" * half) * int(seconds * 200)
    layout = struct.pack("<HHIIHH", 7, 1, sample_rate, sample_rate, 1, 8)  # WAVE_FORMAT_MULAW, mono, 8 bit
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
