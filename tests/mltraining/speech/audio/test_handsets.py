from collections.abc import Callable

import numpy as np
import pytest

from mltraining.speech.audio import handsets
from mltraining.speech.audio.telephone import RATE

Treat = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def voice(seconds: float = 2.0) -> np.ndarray:
    """Noise whose level rises and falls four times a second, as syllables do, over a quiet background."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(5).normal(size=len(time))
    return (noise * (0.001 + 0.1 * np.sin(2 * np.pi * 2 * time) ** 2)).astype(np.float32)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("treat", [handsets.respond, handsets.control_gain, handsets.suppress_noise, handsets.echo])
def test_every_treatment_keeps_the_length_changes_the_sound_and_repeats_with_its_seed(treat: Treat) -> None:
    samples = voice()
    once, again = (treat(samples, np.random.default_rng(3)) for _ in range(2))
    assert once.shape == samples.shape and once.dtype == np.float32
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - samples).max() > 1e-4
    assert np.isfinite(treat(np.zeros(400, dtype=np.float32), np.random.default_rng(3))).all()


def test_two_handsets_sound_different_at_the_same_level() -> None:
    samples = voice()
    one, other = (handsets.respond(samples, np.random.default_rng(seed)) for seed in (1, 2))
    spectra = [np.abs(np.fft.rfft(each)) for each in (one, other)]
    assert np.corrcoef(spectra[0], spectra[1])[0, 1] < 0.99
    assert level(one) == pytest.approx(level(samples), rel=1e-3)


def test_gain_control_brings_loud_and_soft_parts_closer() -> None:
    samples = np.concatenate([voice(1.5), 0.05 * voice(1.5)])
    heard = handsets.control_gain(samples, np.random.default_rng(1))
    half = len(samples) // 2

    def ratio(each: np.ndarray) -> float:
        return level(each[:half]) / level(each[half:])

    assert ratio(heard) < 0.7 * ratio(samples)


def test_suppression_takes_more_from_the_pauses_than_from_the_speech() -> None:
    samples = voice() + np.random.default_rng(7).normal(size=2 * RATE).astype(np.float32) * 0.01
    heard = handsets.suppress_noise(samples, np.random.default_rng(1))
    frames = np.stack([level(part) for part in samples[: 60 * 256].reshape(60, 256)])
    after = np.stack([level(part) for part in heard[: 60 * 256].reshape(60, 256)])
    loud = frames > np.median(frames)
    assert (after / frames)[~loud].mean() < 0.8 * (after / frames)[loud].mean()


def test_an_echo_is_the_voice_again_later_and_softer() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    click[100] = 1.0
    places = np.flatnonzero(np.abs(handsets.echo(click, np.random.default_rng(1))) > 0.01)
    assert len(places) == 2 and 0.02 * RATE <= places[1] - places[0] <= 0.15 * RATE
