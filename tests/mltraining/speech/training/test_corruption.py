"""Noise, rooms and the chain of both with the telephone, as training hears them."""

import wave
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltraining.speech.audio import noise, rooms, telephone
from mltraining.speech.config import Augmentation, ConfigError
from mltraining.speech.training import corruption
from mltraining.speech.training.corruption import Corruption

RATE = 8000


@pytest.fixture(autouse=True)
def _few_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruption, "ROOMS", 10)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for number in range(6):
        samples = np.random.default_rng(number).integers(-9000, 9000, RATE, dtype=np.int16)
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
    return tmp_path


def test_evaluation_hears_no_noise_that_training_heard(sounds: Path) -> None:
    trained, evaluated = noise.load(sounds, "train"), noise.load(sounds, "evaluation")

    assert (len(trained), len(evaluated)) == (4, 2)
    assert not any(np.array_equal(one, other) for one in trained for other in evaluated)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_is_added_at_the_ratio_asked_for(snr_db: float) -> None:
    random = np.random.default_rng(0)
    samples = (0.1 * random.standard_normal(RATE)).astype(np.float32)

    added = noise.add(samples, noise.coloured(RATE, random), snr_db, random) - samples

    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=0.01)


def test_babble_gives_every_voice_the_same_level() -> None:
    random = np.random.default_rng(0)
    loud, quiet = random.standard_normal(RATE), 0.01 * random.standard_normal(RATE)

    mixed = noise.babble([loud.astype(np.float32), quiet.astype(np.float32)], RATE)

    for voice in (loud, quiet):
        assert np.corrcoef(mixed, voice)[0, 1] == pytest.approx(2**-0.5, abs=0.03)


def test_rooms_reverberate_as_rooms_do() -> None:
    random = np.random.default_rng(0)
    times = []
    for _ in range(40):
        response = rooms.impulse_response(random)
        assert response[0] == 1
        energy = np.cumsum(response[::-1] ** 2)[::-1]
        decay = 10 * np.log10(energy / energy[0] + 1e-12)
        times.append((np.argmax(decay < -25) - np.argmax(decay < -5)) * 3 / RATE)  # T20, as ISO 3382 reads it
    assert 0.05 < np.quantile(times, 0.1) < np.quantile(times, 0.9) < 0.8


def test_a_room_keeps_the_level() -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)

    heard = rooms.reverberate(samples, rooms.impulse_response(np.random.default_rng(1)))

    assert np.std(heard) == pytest.approx(np.std(samples), rel=0.01)
    assert not np.allclose(heard, samples, atol=0.01)


def test_the_same_generator_gives_the_same_corruption_and_none_is_none(sounds: Path) -> None:
    settings = Augmentation(
        channel_probability=0.7, noise_probability=0.7, room_probability=0.7, noise_folder=str(sounds)
    )
    voices = [np.random.default_rng(number).integers(-9000, 9000, RATE, dtype=np.int16) for number in range(5)]
    samples = (0.1 * np.random.default_rng(9).standard_normal(RATE)).astype(np.float32)
    once = Corruption(settings, voices, seed=1)

    first = [once(samples, np.random.default_rng(seed)) for seed in range(8)]
    again = [Corruption(settings, voices, seed=1)(samples, np.random.default_rng(seed)) for seed in range(8)]

    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert all(one.shape == samples.shape and np.isfinite(one).all() for one in first)
    assert len({one.tobytes() for one in first}) > 5
    untouched = Corruption(Augmentation(), voices, seed=1)(samples, np.random.default_rng(0))
    assert np.array_equal(untouched, samples)


def test_a_missing_folder_of_noise_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.noise_folder"):
        Corruption(Augmentation(noise_folder=str(tmp_path / "none"), noise_probability=1), [], seed=1)


def voices(count: int = 5) -> list[np.ndarray]:
    return [np.random.default_rng(number).integers(-9000, 9000, RATE, dtype=np.int16) for number in range(count)]


def speech() -> np.ndarray:
    return (0.1 * np.random.default_rng(9).standard_normal(RATE)).astype(np.float32)


CLEAN_CALL = Augmentation(
    channel_probability=1, clipping_probability=0, packet_loss_probability=0, level_db=(0, 0),
    codec_weights=(1, 0, 0, 0, 0),
)  # fmt: skip


def test_a_call_without_its_faults_is_the_pass_band_and_the_codec_alone() -> None:
    heard = Corruption(CLEAN_CALL, [], seed=1)(speech(), np.random.default_rng(3))

    bare = telephone.through_codec(telephone.band_pass(speech(), *telephone.PASS_BAND), "mulaw")
    assert np.corrcoef(heard, bare)[0, 1] > 0.95
    assert len(np.unique(heard)) <= 255  # the values of G.711 mu-law


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"clipping_probability": 1.0, "clipping_level": (0.3, 0.3)}, lambda heard: np.abs(heard).max() < 0.25),
        ({"packet_loss_probability": 1.0, "packet_loss": (1.0, 1.0)}, lambda heard: not heard[: telephone.FRAME].any()),
        ({"level_db": (-12.0, -12.0)}, lambda heard: 0.015 < np.std(heard) < 0.025),
    ],
)
def test_each_fault_of_a_call_strikes_as_its_settings_say(
    changes: dict[str, Any], fault: Callable[[np.ndarray], bool]
) -> None:
    clean = Corruption(CLEAN_CALL, [], seed=1)(speech(), np.random.default_rng(3))
    faulty = Corruption(replace(CLEAN_CALL, **changes), [], seed=1)(speech(), np.random.default_rng(3))

    assert fault(faulty)
    assert not fault(clean)


@pytest.mark.parametrize(
    ("recorded", "babble", "kind"), [(1.0, 0.0, "recorded"), (0.0, 1.0, "babble"), (0.0, 0.0, "coloured")]
)
def test_the_shares_say_which_noise_is_added(
    sounds: Path, monkeypatch: pytest.MonkeyPatch, recorded: float, babble: float, kind: str
) -> None:
    settings = Augmentation(
        noise_probability=1, noise_folder=str(sounds), recorded_noise_share=recorded, babble_share=babble
    )
    corrupt = Corruption(settings, voices(), seed=1)
    used: list[str] = []
    babbled, coloured = noise.babble, noise.coloured

    def babble_noted(spoken: Sequence[np.ndarray], length: int) -> np.ndarray:
        used.append("babble")
        return babbled(spoken, length)

    def coloured_noted(length: int, random: np.random.Generator) -> np.ndarray:
        used.append("coloured")
        return coloured(length, random)

    monkeypatch.setattr(noise, "babble", babble_noted)
    monkeypatch.setattr(noise, "coloured", coloured_noted)

    for seed in range(10):
        corrupt(speech(), np.random.default_rng(seed))

    assert used == ([] if kind == "recorded" else [kind] * 10)


def test_a_codec_that_cannot_be_encoded_here_is_refused_where_it_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telephone, "has_encoder", lambda codec: codec != "mulaw")

    with pytest.raises(ConfigError, match=r"augmentation\.codec_weights"):
        Corruption(CLEAN_CALL, [], seed=1)


def test_a_room_is_the_same_for_the_same_generator() -> None:
    one, other = (rooms.impulse_response(np.random.default_rng(4)) for _ in range(2))

    assert np.array_equal(one, other)
