"""What happens to a voice on its way to the bank: a room, noise, and then the telephone. Training's augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mltraining.speech.audio import handsets, noise, rooms, telephone
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.config import Augmentation, ConfigError

ROOMS = 200  # simulated once a run: 1.5 s on one core
BABBLING = (3, 6)  # voices


class Corruption:
    """Corrupts one crop at a time, each step with the probability that the configuration gives it.

    ``voices``: clips (n,) int16 of other speakers at 8 kHz, for babble. The same generator gives the same corruption.
    Raises ConfigError if ``augmentation.noise_folder`` cannot be read.
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
        weights = dict(zip(telephone.CODECS, settings.codec_weights, strict=True))
        self.codecs = [codec for codec in telephone.CODECS if weights[codec] and telephone.has_encoder(codec)]
        if settings.channel_probability and not self.codecs:
            raise ConfigError("augmentation.codec_weights: no codec with a weight can be encoded on this machine")
        own = np.array([weights[codec] for codec in self.codecs])
        self.codec_shares = own / own.sum() if len(own) else own

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Corrupt a crop: (n,) float32 in [-1, 1] at 8 kHz -> the same shape."""
        settings = self.settings
        if random.random() < settings.room_probability:
            samples = rooms.reverberate(samples, self.rooms[random.integers(len(self.rooms))])
        if random.random() < settings.noise_probability:
            added = self._noise(len(samples), random)
            samples = noise.add(samples, added, random.uniform(*settings.noise_snr_db), random)
        if random.random() < settings.channel_probability:
            samples = self._call(samples, random)
        return samples

    def _noise(self, length: int, random: np.random.Generator) -> np.ndarray:
        """Draw recorded noise, babble or coloured noise. A kind that is missing leaves its share to the next."""
        settings, kind = self.settings, random.random()
        if kind < settings.recorded_noise_share and self.sounds:
            return self.sounds[random.integers(len(self.sounds))]
        if kind < settings.recorded_noise_share + settings.babble_share and len(self.voices):
            fewest, most = BABBLING
            chosen = random.integers(len(self.voices), size=random.integers(fewest, most + 1))
            return noise.babble([self.voices[number].astype(np.float32) / 32768 for number in chosen], length)
        return noise.coloured(length, random)

    def _call(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Handset, level, clipping, pass band, codec (or two of them) and lost packets of one call."""
        settings = self.settings
        if random.random() < settings.handset_probability:
            samples = handsets.respond(samples, random)
        for treat in (handsets.control_gain, handsets.suppress_noise, handsets.echo):
            if random.random() < settings.processing_probability:
                samples = treat(samples, random)
        samples = samples * 10 ** (random.uniform(*settings.level_db) / 20)
        if random.random() < settings.clipping_probability:
            peak = np.abs(samples).max() * random.uniform(*settings.clipping_level)
            samples = np.clip(samples, -peak, peak)
        samples = telephone.transmit(np.clip(samples, -1, 1), self._codec(random), random=random)
        if random.random() < settings.tandem_probability:
            samples = telephone.through_codec(np.clip(samples, -1, 1), self._codec(random))
        if random.random() < settings.packet_loss_probability:
            samples = telephone.lose_packets(samples, random.uniform(*settings.packet_loss), random)
        return samples

    def _codec(self, random: np.random.Generator) -> telephone.Codec:
        return self.codecs[random.choice(len(self.codecs), p=self.codec_shares)]
