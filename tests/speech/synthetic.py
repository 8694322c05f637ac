"""Synthetic voices and telephone-system encodings for tests. Deterministic; not speech of anyone."""

import io
import wave

import av
import numpy as np

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
    "ogg_vorbis": ("ogg", "libvorbis", 16_000, {}),
    "webm_opus": ("webm", "libopus", 48_000, {"b": "32000"}),
    "mp3": ("mp3", "libmp3lame", 16_000, {"b": "32000"}),
    "flac": ("flac", "flac", 16_000, {}),
    "m4a": ("ipod", "aac", 16_000, {"b": "48000"}),
    "aac": ("adts", "aac", 16_000, {"b": "48000"}),
    "amr_nb": ("amr", "libopencore_amrnb", 8_000, {"b": "12200"}),
    "au": ("au", "pcm_mulaw", 8_000, {}),
    "aiff": ("aiff", "pcm_s16be", 16_000, {}),
    "caf": ("caf", "pcm_s16le", 16_000, {}),
    "mulaw": ("mulaw", "pcm_mulaw", 8_000, {}),
    "alaw": ("alaw", "pcm_alaw", 8_000, {}),
    "g722": ("g722", "g722", 16_000, {}),
    "s16le": ("s16le", "pcm_s16le", 8_000, {}),
}
HEADERLESS = ("mulaw", "alaw", "g722", "s16le")


def voice(speaker: int, *, seconds: float = 3.0, sample_rate: int = 16_000, take: int = 0) -> np.ndarray:
    """One utterance of a synthetic speaker: (seconds * sample_rate,) float32, peak 0.5.

    A harmonic source at the speaker's own pitch goes through four formants that move from syllable to
    syllable around the speaker's own vocal tract length; ``take`` changes the words, not the voice.
    """
    own = np.random.default_rng([speaker, 7])
    pitch, tract = own.uniform(85, 260), own.uniform(0.8, 1.25)
    tilt, widths = own.uniform(0.6, 1.4), own.uniform(0.7, 1.4, size=4)
    words = np.random.default_rng([speaker, take, 11])

    count = int(round(seconds * sample_rate))
    time = np.arange(count) / sample_rate
    samples = words.normal(0, 2e-4, count)
    start = 0.1
    while start < seconds - 0.1:
        length = words.uniform(0.12, 0.28)
        begin, end = int(start * sample_rate), min(int((start + length) * sample_rate), count)
        formants = np.array([500.0, 1500.0, 2500.0, 3500.0]) * tract * words.uniform(0.75, 1.3, size=4)
        f0 = pitch * words.uniform(0.92, 1.1) * (1 + 0.04 * np.sin(2 * np.pi * 4 * time[begin:end]))
        phase = 2 * np.pi * np.cumsum(f0) / sample_rate
        syllable = np.zeros(end - begin)
        for harmonic in range(1, int(0.45 * sample_rate / pitch / 1.2) + 1):
            frequency = harmonic * pitch
            envelope = np.sum(1 / (1 + ((frequency - formants) / (70 * widths)) ** 2)) + 0.02
            syllable += envelope * harmonic**-tilt * np.sin(harmonic * phase)
        samples[begin:end] += syllable * np.hanning(end - begin) ** 0.5
        start += length + words.choice([0.02, 0.05, 0.12])
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def encode(samples: np.ndarray, name: str = "wav", *, source_rate: int = 16_000) -> bytes:
    """``samples`` ((n,) or (channels, n) float in [-1, 1]) in the encoding that FORMATS calls ``name``."""
    container_name, codec, rate, options = FORMATS[name]
    planes = np.atleast_2d(samples).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.codec_context.layout = layout
        stream.codec_context.format = stream.codec_context.codec.audio_formats[0]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format="fltp", layout=layout)
        frame.sample_rate = source_rate
        for packet in _packets(stream, frame):
            container.mux(packet)
    return buffer.getvalue()


def _packets(stream, frame):
    context = stream.codec_context
    context.open()
    resampler = av.AudioResampler(
        format=context.format, layout=context.layout, rate=context.sample_rate, frame_size=context.frame_size or 1024
    )
    for piece in (frame, None):
        for resampled in resampler.resample(piece):
            yield from stream.encode(resampled)
    yield from stream.encode(None)


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
