"""SpecAugment hides stripes of rows and frames, each spectrogram's own."""

import torch

from mltraining.speech.training.specaugment import mask


def hidden(rows: int, frames: int) -> torch.Tensor:
    """Which cells of 200 random spectrograms are hidden: (200, 20, 30) bool."""
    torch.manual_seed(0)
    spectrograms = torch.randn(200, 1, 20, 30)
    masked = mask(spectrograms, rows=rows, frames=frames)
    mean = spectrograms.mean(dim=(2, 3), keepdim=True)
    changed = (masked - spectrograms).abs() > 1e-5
    assert torch.allclose(masked[changed], mean.expand_as(masked)[changed], atol=1e-5)
    return changed[:, 0]


def test_nothing_is_hidden_unless_asked() -> None:
    spectrograms = torch.randn(2, 1, 20, 30)
    assert mask(spectrograms, rows=0, frames=0) is spectrograms


def test_a_stripe_of_rows_is_as_wide_as_asked_at_most_and_every_spectrogram_has_its_own() -> None:
    rows = hidden(rows=4, frames=0).all(dim=2).sum(dim=1)
    assert set(rows.tolist()) == {0, 1, 2, 3, 4}


def test_a_stripe_of_frames_is_as_wide_as_asked_at_most() -> None:
    frames = hidden(rows=0, frames=3).all(dim=1).sum(dim=1)
    assert set(frames.tolist()) == {0, 1, 2, 3}


def test_a_stripe_may_be_wider_than_the_spectrogram() -> None:
    assert hidden(rows=500, frames=0).any()
