"""Sound bounds speech from above, so that a worker is not asked too early, nor too late."""

import numpy as np
import pytest

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from tests.support.audio import encode
from voiceauth.demo import voices
from voiceauth.verification.streams.listening import POWERS, Audio

RATE = 8000


def telephone(samples: np.ndarray, rate: int = RATE) -> bytes:
    return encode(samples, "mulaw", source_rate=rate)


def heard(content: bytes, *, piece: int = 160, encoding: str = "mulaw", most_seconds: float = 120.0) -> Audio:
    audio = Audio(encoding, most_seconds)
    for at in range(0, len(content), piece):
        audio.add(content[at : at + piece])
    return audio


def noise(seconds: float, dbfs: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 10 ** (dbfs / 20), int(seconds * RATE)).astype(np.float32)


def test_the_power_of_each_byte_is_that_of_the_decoded_sample() -> None:
    every = decode(bytes(range(256)) * 8, format="mulaw").samples[:256]
    assert np.allclose(POWERS, every.astype(np.float64) ** 2, atol=1e-7)


@pytest.mark.parametrize("speaker", range(6))
@pytest.mark.parametrize("floor_dbfs", [-90.0, -55.0])
def test_there_is_at_least_as_much_sound_as_speech_and_not_far_more(speaker: int, floor_dbfs: float) -> None:
    clean = voices.utterance(speaker, 0)[::2]
    samples = np.concatenate([np.zeros(RATE * 4, dtype=np.float32), clean])
    content = telephone(samples + noise(len(samples) / RATE, floor_dbfs))
    speech = quality.measure(decode(content, format="mulaw")).speech_seconds
    assert speech - 0.2 <= heard(content).sound_seconds <= len(clean) / RATE + 0.2
    assert speech > 3


@pytest.mark.parametrize("dbfs", [-60.0, -50.0])
def test_steady_noise_of_a_line_is_no_sound(dbfs: float) -> None:
    assert heard(telephone(noise(5, dbfs))).sound_seconds < 0.5


def test_silence_is_no_sound() -> None:
    assert heard(b"\xff" * RATE * 5).sound_seconds == 0
    assert heard(bytes(RATE * 10), encoding="s16le").sound_seconds == 0


def test_both_encodings_and_any_size_of_messages_hear_the_same() -> None:
    samples = voices.utterance(0, 0)[::2]
    content = telephone(samples)
    linear = decode(content, format="mulaw").samples
    counted = {
        heard(content).sound_seconds,
        heard(content, piece=73).sound_seconds,
        heard(content, piece=8000).sound_seconds,
        heard((linear * 32768).astype("<i2").tobytes(), piece=320, encoding="s16le").sound_seconds,
    }
    assert max(counted) - min(counted) <= 0.2  # what was not looked at yet
    assert max(counted) > 3


def test_audio_beyond_the_limit_is_left_out_and_then_the_oldest() -> None:
    audio = heard(b"\x01" * RATE, most_seconds=0.5)
    assert audio.is_full and bytes(audio.content) == b"\x01" * (RATE // 2)
    audio.roll(0.25)
    assert not audio.is_full
    audio.add(b"\x02" * 400)
    assert bytes(audio.content) == b"\x01" * 1600 + b"\x02" * 400
    assert audio.seconds == 0.25
