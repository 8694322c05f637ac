"""Rooms, simulated: impulse responses of shoebox rooms by the image-source method (Allen and Berkley, 1979)."""

import numpy as np

from mltraining.speech.audio.telephone import RATE

SOUND = 343.0  # m/s
ORDER = 12  # reflections along each axis
TAIL_SECONDS = 0.4


def impulse_response(random: np.random.Generator) -> np.ndarray:
    """Of one random room, (n,) float32 at 8 kHz: 3 to 9 m wide, a talker 0.3 to 2.5 m from the microphone.

    The direct sound comes first and has height 1. Reverberation times run from about 0.1 to 0.7 s.
    """
    size = random.uniform([3, 3, 2.4], [9, 7, 3.5])
    reflection = random.uniform(0.5, 0.93)
    microphone = random.uniform(0.4, size - 0.4)
    direction = random.standard_normal(3)
    source = microphone + direction / np.linalg.norm(direction) * random.uniform(0.3, 2.5)
    source = np.clip(source, 0.2, size - 0.2)
    steps = np.arange(-ORDER, ORDER + 1)
    squared, bounces = [], []
    for axis in range(3):  # an image's place along one axis depends on that axis alone
        place = np.where(steps % 2 == 0, steps * size[axis] + source[axis], (steps + 1) * size[axis] - source[axis])
        squared.append(np.square(place - microphone[axis]))
        bounces.append(np.abs(steps))
    distance = np.sqrt(squared[0][:, None, None] + squared[1][None, :, None] + squared[2][None, None, :]).ravel()
    bounced = (bounces[0][:, None, None] + bounces[1][None, :, None] + bounces[2][None, None, :]).ravel()
    direct = np.linalg.norm(source - microphone)
    delay = np.round((distance - direct) / SOUND * RATE).astype(int)
    height = reflection**bounced * direct / np.maximum(distance, 0.05)
    # A wall scatters: images of many bounces arrive with either sign, or their sum would be a low rumble.
    height *= np.where(bounced > 2, random.choice([-1.0, 1.0], size=len(height)), 1.0)
    kept = (delay >= 0) & (delay < int(TAIL_SECONDS * RATE))
    response = np.bincount(delay[kept], weights=height[kept], minlength=1)
    return (response / max(abs(response[0]), 1e-6)).astype(np.float32)


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """(n,) through the room: (n,) float32, at the level that it had."""
    size = len(samples) + len(response) - 1
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    before, after = np.sqrt(np.mean(samples**2)), np.sqrt(np.mean(heard**2))
    return (heard * (before / (after + 1e-9))).astype(np.float32)
