"""What a telephone does to a voice before the line codes it: its sound, gain control, noise suppression and echo.

People enroll with one telephone and call with another, and most of what separates two recordings of a voice is the
telephone. Training therefore sends each crop through another one. All samples are (n,) float32 at 8 kHz.
"""

import numpy as np
from scipy.signal import istft, lfilter, stft

from mltraining.speech.audio.telephone import RATE

POINTS = (100.0, 250.0, 500.0, 900.0, 1500.0, 2200.0, 3000.0, 3900.0)  # Hz, between which the response is smooth
UNEVENNESS_DB, TILT_DB = (1.0, 4.0), 3.0  # deviation of the points; steepest tilt of an octave
RESONANCE_SHARE, RESONANCE_HZ, RESONANCE_WIDTH, RESONANCE_DB = 0.3, (600.0, 3200.0), (60.0, 300.0), (3.0, 10.0)
GAIN_SECONDS, COMPRESSION = (0.05, 0.6), (0.3, 0.8)  # time constant; share of the level's changes that is taken out
ECHO_SECONDS, ECHO_DB = (0.02, 0.15), (8.0, 25.0)  # delay; how much softer
SUPPRESSED_DB, OVERESTIMATE = (6.0, 18.0), (1.5, 4.0)  # depth of the suppression; of the noise power
FRAME = 256  # samples that noise is suppressed in


def respond(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Give the voice the sound of a random microphone and loudspeaker, at the level that it had."""
    points = np.array(POINTS)
    gains = random.normal(0, random.uniform(*UNEVENNESS_DB), len(points))
    gains += random.uniform(-TILT_DB, TILT_DB) * np.log2(points / 1000)
    size = len(samples) + RATE // 10
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    response = np.interp(np.log(np.maximum(hertz, 50.0)), np.log(points), np.clip(gains, -15, 15))
    if random.random() < RESONANCE_SHARE:
        distance = (hertz - random.uniform(*RESONANCE_HZ)) / random.uniform(*RESONANCE_WIDTH)
        response += random.uniform(*RESONANCE_DB) * np.exp(-0.5 * distance**2)
    heard = np.fft.irfft(np.fft.rfft(samples, size) * 10 ** (response / 20), size)[: len(samples)]
    return _at_level_of(samples, heard)


def control_gain(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Bring loud and soft parts closer together, as automatic gain control does."""
    keep = np.exp(-1 / (RATE * random.uniform(*GAIN_SECONDS)))
    envelope = np.sqrt(lfilter([1 - keep], [1, -keep], np.square(samples)) + 1e-8)
    gain = (envelope / (_level(samples) + 1e-9) + 0.05) ** -random.uniform(*COMPRESSION)
    return _at_level_of(samples, samples * gain)


def suppress_noise(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Weaken what is not louder than the quietest parts, as noise suppression does, with what it does to speech."""
    if len(samples) < 4 * FRAME:
        return samples
    _, _, spectrum = stft(samples, nperseg=FRAME)
    power = np.abs(spectrum) ** 2
    noise = np.quantile(power, 0.15, axis=1, keepdims=True) * random.uniform(*OVERESTIMATE)
    gain = np.maximum(1 - noise / (power + 1e-12), 10 ** (-random.uniform(*SUPPRESSED_DB) / 20))
    return istft(spectrum * gain, nperseg=FRAME)[1][: len(samples)].astype(np.float32)


def echo(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add what the line returns of the voice, later and softer."""
    delay = round(RATE * random.uniform(*ECHO_SECONDS))
    heard = samples.copy()
    if delay < len(samples):
        heard[delay:] += samples[:-delay] * 10 ** (-random.uniform(*ECHO_DB) / 20)
    return heard.astype(np.float32)


def _level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _at_level_of(samples: np.ndarray, heard: np.ndarray) -> np.ndarray:
    return (heard * (_level(samples) / (_level(heard) + 1e-9))).astype(np.float32)
