"""Synthetic voices by the source-filter model (Fant, 1960): a glottal pulse train through moving formants.

A speaker has a pitch, a vocal tract length, a tilt of the source, formant bandwidths and a pace. Each take is another
sequence of vowels, fricatives and pauses. It is nobody's speech, but enough like speech for a voice activity detector.
"""

import io
import wave

import numpy as np

RATE = 16_000  # Hz
SECONDS = 7.0  # of a recording; about five of them net speech
HOP = 80  # samples between updates of the filters (5 ms)

# Formants 1 to 4 of an adult male's vowels in Hz (Peterson and Barney, 1952; the fourth from Fant).
VOWELS = np.array(
    [
        (270, 2290, 3010, 3500),
        (390, 1990, 2550, 3500),
        (530, 1840, 2480, 3500),
        (660, 1720, 2410, 3500),
        (730, 1090, 2440, 3500),
        (570, 840, 2410, 3500),
        (440, 1020, 2240, 3400),
        (300, 870, 2240, 3400),
        (640, 1190, 2390, 3400),
        (490, 1350, 1690, 3300),
    ],
    dtype=float,
)


def recording(speaker: int, take: int) -> bytes:
    """One take of one speaker as a WAV file (PCM16, 16 kHz, mono)."""
    samples = np.round(utterance(speaker, take) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def utterance(speaker: int, take: int) -> np.ndarray:
    """float32 (SECONDS * RATE,), peak 0.6."""
    own = np.random.default_rng([speaker, 1])
    # Spread over the range of human voices by number, so that no two speakers come out alike.
    place = (speaker * 0.618034) % 1
    pitch = 90 * 2.6**place  # Hz
    tract = 0.88 + 0.32 * ((speaker * 0.381966 + 0.5 * place) % 1)  # scales the formants
    tilt, pace = own.uniform(0.90, 0.97), own.uniform(0.85, 1.2)
    widths = np.array([60, 90, 130, 200]) * own.uniform(0.7, 1.4, size=4)
    accent = own.uniform(0.93, 1.07, size=VOWELS.shape)  # where this speaker puts each vowel

    words = np.random.default_rng([speaker, take, 2])
    count = int(SECONDS * RATE)
    formants, voicing, friction, melody = _score(words, count // HOP, VOWELS * accent * tract, pace)
    contour = np.repeat(pitch * melody, HOP)
    source = _glottal_pulses(words, contour, tilt) * np.repeat(voicing, HOP)
    voiced = _resonate(source, formants, np.broadcast_to(widths, formants.shape))
    noise = np.diff(words.normal(0, 1, count + 1)) * np.repeat(friction, HOP)
    samples = voiced / (np.abs(voiced).max() + 1e-9) + 0.12 * noise + words.normal(0, 5e-4, count)
    return (0.6 * samples / np.abs(samples).max()).astype(np.float32)


def _score(words: np.random.Generator, frames: int, vowels: np.ndarray, pace: float) -> tuple[np.ndarray, ...]:
    """The utterance frame by frame: formants (frames, 4) in Hz, voicing, friction, relative pitch (frames,)."""
    formants, voicing, friction, melody = np.zeros((frames, 4)), np.zeros(frames), np.zeros(frames), np.ones(frames)
    position, vowel, syllables = 20, vowels[words.integers(len(vowels))], 0
    while position < frames - 20:
        following = vowels[words.integers(len(vowels))]
        length = min(int(words.uniform(24, 44) / pace), frames - 20 - position)
        span = slice(position, position + length)
        glide = np.clip(np.linspace(-0.3, 1.3, length), 0, 1)[:, None]
        formants[span] = vowel + (following - vowel) * glide
        voicing[span] = np.clip(np.minimum(np.arange(length), np.arange(length)[::-1]) / 6, 0.05, 1)
        melody[span] = words.uniform(0.92, 1.12) * np.linspace(1.05, 0.95, length)
        position, vowel, syllables = position + length, following, syllables + 1
        if words.random() < 0.35:
            length = min(int(words.uniform(10, 20)), frames - position)
            friction[position : position + length] = np.hanning(length) if length > 2 else 0
            position += length
        if syllables % 7 == 0:
            position += int(words.uniform(25, 60))
    formants[formants[:, 0] == 0] = vowels[0]
    return formants, voicing, friction, melody


def _glottal_pulses(words: np.random.Generator, contour: np.ndarray, tilt: float) -> np.ndarray:
    """A pulse a period with 1 % jitter and 5 % shimmer, smoothed by two poles at ``tilt``."""
    source, position = np.zeros(len(contour)), 0.0
    while position < len(contour):
        source[int(position)] = words.normal(1, 0.05)
        position += RATE / contour[int(position)] * words.normal(1, 0.01)
    for _ in range(2):
        source = _one_pole(source, tilt)
    return np.diff(source, prepend=0.0)


def _one_pole(samples: np.ndarray, pole: float) -> np.ndarray:
    """y[n] = x[n] + pole * y[n-1], as a convolution with the decaying response."""
    response = pole ** np.arange(int(np.log(1e-4) / np.log(pole)))
    size = len(samples) + len(response)
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]


def _resonate(source: np.ndarray, formants: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Four parallel-free resonators in series, in the frequency domain of overlapping frames.

    source (n,), formants and widths (n / HOP, 4) in Hz; the answer is (n,).
    """
    window, size = 6 * HOP, 1024
    shape = np.hanning(window)
    z = np.exp(2j * np.pi * np.fft.rfftfreq(size))[None, :]
    result = np.zeros(len(source) + size)
    radius = np.exp(-np.pi * widths / RATE)
    angle = 2 * np.pi * np.minimum(formants, 0.47 * RATE) / RATE
    for frame in range(0, len(formants), 2):
        begin = frame * HOP
        piece = source[begin : begin + window]
        if not np.any(piece):
            continue
        r, a = radius[frame][:, None], angle[frame][:, None]
        gain = 1 - 2 * r * np.cos(a) + r * r
        response = np.prod(gain / (1 - 2 * r * np.cos(a) / z + r * r / z**2), axis=0)
        shaped = np.fft.irfft(np.fft.rfft(piece * shape[: len(piece)], size) * response, size)
        result[begin : begin + size] += shaped
    return result[: len(source)]
