"""The simulated telephone: each codec's own error, alignment, and the pass band."""

from typing import cast

import numpy as np
import pytest

from mltraining.speech.audio import telephone

RATE = telephone.RATE


def tone(hertz: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def voice(seed: int = 0, seconds: float = 2.0) -> np.ndarray:
    """Pulses of a glottis at 120 Hz through two formants, with some noise: what a speech codec is built for."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    pulses = np.zeros(count)
    pulses[:: RATE // 120] = 1
    spectrum = np.fft.rfft(pulses + 0.01 * random.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    gain = sum(1 / (1 + ((hertz - formant) / 120) ** 2) for formant in (600, 1400, 2600))
    samples = np.fft.irfft(spectrum * gain, count)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def signal_to_error_db(original: np.ndarray, heard: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(original**2) / np.mean((heard - original) ** 2)))


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
@pytest.mark.parametrize("level", [0.9, 0.3, 0.03])
def test_g711_keeps_its_signal_to_noise_ratio_at_every_level(codec: telephone.Codec, level: float) -> None:
    original = tone(997, level=level)

    assert 35 < signal_to_error_db(original, telephone.through_codec(original, codec)) < 45


def test_mu_law_decodes_to_the_256_values_of_g711() -> None:
    every = np.arange(-32768, 32768, dtype=np.float32) / 32768

    decoded = telephone.through_codec(every, "mulaw") * 8192

    values = np.unique(np.abs(np.round(decoded)))
    assert len(values) == 128
    assert values[:3].tolist() == [0, 2, 4]
    assert values[-1] == 8031


def test_a_law_decodes_to_the_256_values_of_g711() -> None:
    every = np.arange(-32768, 32768, dtype=np.float32) / 32768

    values = np.unique(np.abs(np.round(telephone.through_codec(every, "alaw") * 4096)))

    assert len(values) == 128
    assert values[:3].tolist() == [1, 3, 5]
    assert values[-1] == 4032


@pytest.mark.parametrize("codec", telephone.CODECS)
def test_a_codec_keeps_length_and_place(codec: telephone.Codec) -> None:
    original = voice()
    original[: RATE // 2] = 0

    heard = telephone.through_codec(original, codec)

    assert heard.shape == original.shape
    assert heard.dtype == np.float32
    middle = slice(RATE // 2 + 400, len(original) - 400)
    shifts = range(-80, 81)
    likeness = [np.corrcoef(original[middle], np.roll(heard, shift)[middle])[0, 1] for shift in shifts]
    assert abs(shifts[int(np.argmax(likeness))]) <= 4
    assert max(likeness) > 0.6


def test_the_pass_band_is_that_of_a_telephone() -> None:
    kept, lost = (
        telephone.band_pass(tone(1000), *telephone.PASS_BAND),
        telephone.band_pass(tone(100), *telephone.PASS_BAND),
    )

    assert np.std(kept[800:-800]) == pytest.approx(np.std(tone(1000)), rel=0.01)
    assert np.std(lost[800:-800]) < 1e-3


def test_packets_are_lost_at_the_rate_asked_for() -> None:
    original = np.ones(telephone.FRAME * 1000, dtype=np.float32)

    heard = telephone.lose_packets(original, 0.1, np.random.default_rng(1))

    assert 0.07 < np.mean(heard < 1) < 0.13
    assert telephone.lose_packets(original, 0.0, np.random.default_rng(1)).tolist() == original.tolist()


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="'g729' is not a codec"):
        telephone.through_codec(tone(1000), cast(telephone.Codec, "g729"))
