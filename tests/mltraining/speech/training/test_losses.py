"""The margin losses against their definitions, and SpecAugment."""

import itertools
import math

import pytest
import torch

from mltraining.speech.network import CosineHead
from mltraining.speech.training import losses, specaugment


def one_clip(*cosines: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([cosines]), torch.eye(len(cosines))[:1]


def test_without_a_margin_aam_softmax_is_a_softmax_of_scaled_cosines() -> None:
    cosines, targets = one_clip(0.5, 0.1, -0.3)

    found = losses.aam_softmax(cosines, targets, scale=30, margin=0)

    assert found == pytest.approx(float(-torch.log_softmax(30 * cosines, dim=1)[0, 0]), rel=1e-4)


def test_the_margin_widens_the_angle_of_the_own_class() -> None:
    cosines, targets = one_clip(0.5, 0.1)
    widened = torch.tensor([[math.cos(math.acos(0.5) + 0.2), 0.1]])

    found = losses.aam_softmax(cosines, targets, scale=30, margin=0.2)

    assert found == pytest.approx(float(-torch.log_softmax(30 * widened, dim=1)[0, 0]), rel=1e-4)


def test_aam_softmax_never_falls_while_the_angle_grows() -> None:
    angles = torch.linspace(0.01, math.pi - 0.01, 200)
    values = [
        float(losses.aam_softmax(*one_clip(math.cos(float(angle)), 0.0), scale=10, margin=0.3)) for angle in angles
    ]

    assert all(later >= earlier - 1e-5 for earlier, later in itertools.pairwise(values))


def test_sphereface2_is_its_formula() -> None:
    cosines, targets = one_clip(0.6, 0.2)
    bias = torch.tensor(-3.0)

    def similarity(cosine: float) -> float:
        return 2 * ((cosine + 1) / 2) ** 3 - 1

    own = math.log1p(math.exp(-(32 * (similarity(0.6) - 0.2) - 3)))
    other = math.log1p(math.exp(32 * (similarity(0.2) + 0.2) - 3))
    expected = (0.7 * own + 0.3 * other) / 32
    assert losses.sphereface2(cosines, targets, scale=32, margin=0.2, bias=bias) == pytest.approx(expected, rel=1e-4)


def test_a_margin_head_gives_its_cosines_back() -> None:
    head = CosineHead(8, 5, margin_scale=24)
    embedding = torch.randn(3, 8)

    cosines = head.cosines(head(embedding))

    expected = torch.nn.functional.cosine_similarity(embedding[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(cosines, expected, atol=1e-5, rtol=1e-4)
    assert head.log_scale.exp().item() == pytest.approx(24)
    assert not head.log_scale.requires_grad


def test_specaugment_hides_at_most_what_is_asked_for() -> None:
    torch.manual_seed(0)
    spectrograms = torch.randn(64, 1, 20, 50)

    masked = specaugment.mask(spectrograms, rows=4, frames=10)

    changed = masked != spectrograms
    rows, frames = changed.all(dim=3).sum(dim=2), changed.all(dim=2).sum(dim=2)
    assert rows.max() == 4
    assert frames.max() == 10
    assert rows.min() == 0
    assert torch.equal(specaugment.mask(spectrograms, rows=0, frames=0), spectrograms)


def test_the_prototypical_loss_is_its_definition() -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    first, second = embeddings[0::2], embeddings[1::2]
    truth = torch.arange(3)
    expected = sum(
        torch.nn.functional.cross_entropy(10 * one @ other.T, truth)
        for one, other in ((first, second), (second, first))
    )

    found = losses.prototypical(embeddings, labels, crops=2, scale=10)

    torch.testing.assert_close(found, expected / 2)


def test_a_speaker_drawn_twice_is_no_stranger_to_itself() -> None:
    embeddings = torch.eye(4)[[0, 0, 0, 0, 1, 1]]

    twice = losses.prototypical(embeddings, torch.tensor([0, 0, 0, 0, 2, 2]), crops=2, scale=10)
    strangers = losses.prototypical(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), crops=2, scale=10)

    assert twice < 0.01 < strangers
