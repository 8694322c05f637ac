"""What happens to a voice on its way to the bank: a room, noise, and then the telephone. Training's augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mltraining.speech.audio import noise, rooms, telephone
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.config import Augmentation, ConfigError

ROOMS = 200  # simulated once a run
LOSS = (0.01, 0.08)  # share of packets
LEVEL_DB = (-12.0, 6.0)
CLIPPED_AT = (0.3, 0.9)  # of the peak


class Corruption:
    """Corrupts one crop at a time, each piece with the probability that the configuration gives it.

    ``voices``: clips (n,) int16 of other speakers at 8 kHz, for babble. The same generator gives the same corruption.
    Raises ConfigError where ``augmentation.noise_folder`` cannot be read.
    """

    def __init__(self, settings: Augmentation, voices: Sequence[np.ndarray], seed: int) -> None:
        self.settings = settings
        self.voices = voices
        self.rooms: list[np.ndarray] = []
        self.sounds: list[np.ndarray] = []
        if settings.room_probability:
            random = np.random.default_rng([seed, 3])
            self.rooms = [rooms.impulse_response(random) for _ in range(ROOMS)]
        if settings.noise_folder is not None:
            try:
                self.sounds = noise.load(Path(settings.noise_folder), "train")
            except (OSError, AudioError) as error:
                raise ConfigError(f"augmentation.noise_folder: {error}") from error
        self.codecs = [codec for codec in telephone.CODECS if telephone.has_encoder(codec)]

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(n,) float32 in [-1, 1] at 8 kHz -> the same."""
        settings = self.settings
        if random.random() < settings.room_probability:
            samples = rooms.reverberate(samples, self.rooms[random.integers(len(self.rooms))])
        if random.random() < settings.noise_probability:
            low, high = settings.noise_snr_db
            samples = noise.add(samples, self._noise(len(samples), random), random.uniform(low, high), random)
        if random.random() < settings.channel_probability:
            samples = self._call(samples, random)
        return samples

    def _noise(self, length: int, random: np.random.Generator) -> np.ndarray:
        kind = random.random()
        if kind < 0.4 and self.sounds:
            return self.sounds[random.integers(len(self.sounds))]
        if kind < 0.7 and len(self.voices):
            chosen = random.integers(len(self.voices), size=random.integers(3, 7))
            return noise.babble([self.voices[number].astype(np.float32) / 32768 for number in chosen], length)
        return noise.coloured(length, random)

    def _call(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        samples = samples * 10 ** (random.uniform(*LEVEL_DB) / 20)
        if random.random() < 0.1:
            peak = np.abs(samples).max() * random.uniform(*CLIPPED_AT)
            samples = np.clip(samples, -peak, peak)
        samples = np.clip(samples, -1, 1)
        weights = np.array([4.0 if codec in ("mulaw", "alaw") else 1.0 for codec in self.codecs])
        codec = self.codecs[random.choice(len(self.codecs), p=weights / weights.sum())]
        samples = telephone.transmit(samples, codec, random=random)
        if random.random() < 0.2:
            samples = telephone.lose_packets(samples, random.uniform(*LOSS), random)
        return samples
