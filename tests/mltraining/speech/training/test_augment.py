from typing import cast

import numpy as np
import pytest
import torch

from mltraining.speech.config import Augmentation
from mltraining.speech.training.augment import mix_audio


class Fixed:
    """Stands for the random generator: each clip's partner is the next one; the shares are given."""

    def __init__(self, shares: list[float], *, chance: float = 0.0, start: int = 0) -> None:
        self.shares, self.chance, self.start = np.array(shares), chance, start

    def permutation(self, count: int) -> np.ndarray:
        return np.roll(np.arange(count), -1)

    def beta(self, a: float, b: float, size: int) -> np.ndarray:
        return self.shares.copy()

    def random(self, count: int) -> np.ndarray:
        return np.full(count, self.chance)

    def integers(self, low: int, high: np.ndarray) -> np.ndarray:
        return np.full(len(high), self.start)


def fixed(shares: list[float], *, chance: float = 0.0, start: int = 0) -> np.random.Generator:
    return cast(np.random.Generator, Fixed(shares, chance=chance, start=start))


SAMPLES = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
TARGETS = torch.eye(2)


def test_disabled_changes_nothing() -> None:
    samples, targets = mix_audio(SAMPLES, TARGETS, Augmentation(), np.random.default_rng(0))
    assert samples is SAMPLES and targets is TARGETS


def test_mixup_adds_waveforms_and_targets_by_their_share() -> None:
    samples, targets = mix_audio(SAMPLES, TARGETS, Augmentation(mix_audio="Mixup"), fixed([0.75, 0.5]))
    assert samples.tolist() == [[0.75] * 4, [0.5] * 4]
    assert targets.tolist() == [[0.75, 0.25], [0.5, 0.5]]


def test_cutmix_replaces_a_stretch() -> None:
    settings = Augmentation(mix_audio="Cutmix")
    samples, targets = mix_audio(SAMPLES, TARGETS, settings, fixed([0.5, 0.75], start=1))
    assert samples.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]
    assert targets.tolist() == [[0.5, 0.5], [0.25, 0.75]]


def test_the_union_target_gives_both_speakers_one() -> None:
    settings = Augmentation(mix_audio="Mixup", mix_target="Union")
    _, targets = mix_audio(SAMPLES, TARGETS, settings, fixed([0.75, 1.0]))
    assert targets.tolist() == [[1, 1], [0, 1]]  # the second clip keeps all of itself


def test_a_clip_is_mixed_with_its_probability() -> None:
    settings = Augmentation(mix_audio="Mixup", mix_probability=0.4)
    samples, targets = mix_audio(SAMPLES, TARGETS, settings, fixed([0.5, 0.5], chance=0.5))
    assert torch.equal(samples, SAMPLES) and torch.equal(targets, TARGETS)
    samples, _ = mix_audio(SAMPLES, TARGETS, settings, fixed([0.5, 0.5], chance=0.3))
    assert samples.tolist() == [[0.5] * 4, [0.5] * 4]


def test_iterations_mix_again() -> None:
    settings = Augmentation(mix_audio="Mixup", mix_iterations=2)
    samples, targets = mix_audio(SAMPLES, TARGETS, settings, fixed([0.75, 0.75]))
    assert samples[:, 0].tolist() == [0.75 * 0.75 + 0.25 * 0.25, 0.75 * 0.25 + 0.25 * 0.75]
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("concentration", [0.1, 10.0])
def test_concentration_decides_how_even_the_shares_are(concentration: float) -> None:
    settings = Augmentation(mix_audio="Mixup", mix_concentration=concentration)
    samples = torch.cat([torch.ones(200, 1), torch.zeros(200, 1)])
    mixed, _ = mix_audio(samples, torch.ones(400, 1), settings, np.random.default_rng(0))
    between = ((mixed > 0.2) & (mixed < 0.8)).float().mean()
    assert between > 0.4 if concentration > 1 else between < 0.15
