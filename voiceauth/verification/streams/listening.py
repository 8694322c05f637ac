"""The audio of a streamed call, and how much sound is in it.

A web process has no speech detector. It counts *sound*: what is clearly louder than the quietest moment so far. Sound
bounds speech from above, so that a worker needs to be asked only once there may be enough. The worker measures the
speech, and says how much is missing; until there is that much more sound, the answer cannot change.
"""

import numpy as np

from voiceauth.verification.streams.protocol import RATE

FRAME = 160  # samples: 20 ms
BATCH = 10 * FRAME  # samples that are looked at together, for speed
PAUSE_FRAMES = 15  # a pause of up to 0.3 s within speech counts as speech; see ``mltraining.speech.audio.quality``
OVER_NOISE = 4.0  # in power, 6 dB
LOUDEST_NOISE = 10 ** (-45 / 10)  # of full scale, in power: what is louder may be speech without a pause
IDLE_NOISE = 10 ** (-72 / 10)  # the lowest step of mu-law


def _powers() -> np.ndarray:
    """Return the power of each mu-law byte, (256,) float32, 1 at full scale (ITU-T G.711)."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.square(magnitude / 32768).astype(np.float32)


POWERS = _powers()


class Audio:
    """Samples of a call as they came, up to ``most_seconds``, and the seconds of sound among them."""

    def __init__(self, encoding: str, most_seconds: float) -> None:
        self.encoding = encoding
        self.width = 1 if encoding == "mulaw" else 2  # bytes a sample
        self.content = bytearray()
        self.sound_seconds = 0.0
        self.is_rolling = False
        self._most_bytes = int(most_seconds * RATE) * self.width
        self._waiting = bytearray()  # samples that were not looked at yet
        self._quietest = LOUDEST_NOISE
        self._pause = PAUSE_FRAMES + 1  # frames since the last sound

    @property
    def seconds(self) -> float:
        """How long the audio is."""
        return len(self.content) / self.width / RATE

    @property
    def is_full(self) -> bool:
        """Whether no more is kept."""
        return not self.is_rolling and len(self.content) >= self._most_bytes

    def add(self, samples: bytes) -> None:
        """Keep samples and count the sound in them. What is beyond the limit is left out, at the end or before it."""
        if self.is_rolling:
            self.content += samples
            del self.content[: max(0, len(self.content) - self._most_bytes)]
        else:
            self.content += samples[: self._most_bytes - len(self.content)]
        self._waiting += samples
        whole = len(self._waiting) // (FRAME * self.width) * FRAME * self.width
        if whole >= BATCH * self.width:
            self._count(bytes(self._waiting[:whole]))
            del self._waiting[:whole]

    def roll(self, seconds: float) -> None:
        """Keep only the latest audio from now on."""
        self.is_rolling, self._most_bytes = True, int(seconds * RATE) * self.width

    def _count(self, samples: bytes) -> None:
        if self.width == 1:
            power = POWERS[np.frombuffer(samples, dtype=np.uint8)]
        else:
            power = np.square(np.frombuffer(samples, dtype="<i2").astype(np.float32) / 32768)
        frames = power.reshape(-1, FRAME).mean(axis=1)
        self._quietest = min(self._quietest, float(frames.min()))
        for is_sound in frames > OVER_NOISE * max(self._quietest, IDLE_NOISE):
            if is_sound:
                pause = self._pause if self._pause <= PAUSE_FRAMES else 0
                self.sound_seconds += (1 + pause) * FRAME / RATE
                self._pause = 0
            else:
                self._pause += 1
