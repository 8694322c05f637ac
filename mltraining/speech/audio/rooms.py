"""Simulated rooms: impulse responses of shoebox rooms by the image-source method (Allen and Berkley, 1979)."""

import numpy as np
import pyroomacoustics
from scipy.signal import fftconvolve

from mltraining.speech.audio.telephone import RATE

SMALLEST, LARGEST = (3.0, 3.0, 2.4), (9.0, 7.0, 3.5)  # m; length, width, height
REFLECTION = (0.5, 0.93)  # share of the sound pressure that a wall returns
TALKER_DISTANCE = (0.3, 2.5)  # m, to the microphone
MICROPHONE_MARGIN, TALKER_MARGIN = 0.4, 0.2  # m, to the nearest wall
ORDER = 17  # reflections of one image; 24 takes twice as long and adds a tenth to the longest reverberation
TAIL_SECONDS = 0.4


def impulse_response(random: np.random.Generator) -> np.ndarray:
    """Simulate one random room: (n,) float32 at 8 kHz, which starts with the direct sound at height 1.

    Reverberation times are about 0.1 to 0.6 s. A room takes about 7 ms, as long as it takes to prepare several crops,
    so training simulates a set of rooms once (see ``training.corruption``).
    """
    size = random.uniform(SMALLEST, LARGEST)
    absorbed = 1 - random.uniform(*REFLECTION) ** 2  # of the energy
    microphone = random.uniform(MICROPHONE_MARGIN, size - MICROPHONE_MARGIN)
    direction = random.standard_normal(3)
    talker = microphone + direction / np.linalg.norm(direction) * random.uniform(*TALKER_DISTANCE)
    talker = np.clip(talker, TALKER_MARGIN, size - TALKER_MARGIN)
    pyroomacoustics.constants.set("num_threads", 1)  # sums in one order: the same room on every machine
    room = pyroomacoustics.ShoeBox(size, fs=RATE, materials=pyroomacoustics.Material(float(absorbed)), max_order=ORDER)
    room.add_source(talker).add_microphone(microphone)
    room.compute_rir()
    travelled = np.linalg.norm(talker - microphone) / pyroomacoustics.constants.get("c") * RATE
    start = pyroomacoustics.constants.get("frac_delay_length") // 2 + round(float(travelled))
    response = room.rir[0][0][start : start + round(TAIL_SECONDS * RATE)]
    return (response / response[0]).astype(np.float32)


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Play speech in a room, at the level that it had: (n,) float32, response (m,) -> (n,) float32."""
    heard = fftconvolve(samples, response)[: len(samples)]
    before, after = np.sqrt(np.mean(samples**2)), np.sqrt(np.mean(heard**2))
    return (heard * (before / (after + 1e-9))).astype(np.float32)
