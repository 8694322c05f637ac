"""Augmentation of a training batch: mixing clips with each other."""

import numpy as np
import torch
from torch import Tensor

from mltraining.speech.config import Augmentation


def mix_audio(
    samples: Tensor, targets: Tensor, settings: Augmentation, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each clip with another of the batch: samples (batch, n), targets (batch, classes) -> the same shapes.

    ``Mixup`` (Zhang et al., 2018) adds the waveforms with weights λ and 1 − λ; ``Cutmix`` (Yun et al., 2019) replaces
    a stretch of 1 − λ of the clip. λ is drawn from Beta(mix_concentration, mix_concentration) for each clip, and a
    clip is mixed with mix_probability, mix_iterations times over. ``mix_target: Ratio`` gives both speakers their
    share as target, ``Union`` gives 1 to both.
    """
    if settings.mix_audio == "Disabled":
        return samples, targets
    for _ in range(settings.mix_iterations):
        samples, targets = _mix_once(samples, targets, settings, random)
    return samples, targets


def _mix_once(
    samples: Tensor, targets: Tensor, settings: Augmentation, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    batch, length = samples.shape
    partner = torch.from_numpy(random.permutation(batch)).to(samples.device)
    share = random.beta(settings.mix_concentration, settings.mix_concentration, size=batch)  # λ, what a clip keeps
    share[random.random(batch) >= settings.mix_probability] = 1.0
    if settings.mix_audio == "Cutmix":
        cut = np.round((1 - share) * length).astype(np.int64)
        start = random.integers(0, length - cut + 1)
        share = 1 - cut / length
        position = np.arange(length)[None, :]
        replaced = (position >= start[:, None]) & (position < (start + cut)[:, None])
        mixed = torch.where(torch.from_numpy(replaced).to(samples.device), samples[partner], samples)
    else:
        weight = torch.from_numpy(share[:, None]).to(samples)
        mixed = weight * samples + (1 - weight) * samples[partner]
    kept = torch.from_numpy(share[:, None]).to(targets)
    if settings.mix_target == "Union":
        other = torch.where(kept < 1, targets[partner], torch.zeros_like(targets))
        own = torch.where(kept > 0, targets, torch.zeros_like(targets))
        return mixed, torch.maximum(own, other)
    return mixed, kept * targets + (1 - kept) * targets[partner]
