"""What training minimises: binary cross-entropy of every class by itself, or a softmax or sigmoids with a margin."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SPHEREFACE2_LAMBDA, SPHEREFACE2_T = 0.7, 3.0  # the published values (Wen et al., ICLR 2022)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(batch,) class indices -> (batch, classes) float32"""
    return F.one_hot(labels, classes).to(torch.float32)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """logits, targets in [0, 1]: (batch, classes) -> scalar, the mean over clips and classes"""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def aam_softmax(cosines: Tensor, targets: Tensor, *, scale: float, margin: float) -> Tensor:
    """Additive angular margin (Deng et al., CVPR 2019): cosines (batch, classes), targets one-hot -> scalar.

    The own class's angle is widened by ``margin`` radians. Where that would pass pi, the cosine is lowered by as much
    as at the edge instead, so that the loss stays monotone in the angle.
    """
    cosines = cosines.float().clamp(-1 + 1e-6, 1 - 1e-6)
    sines = (1 - cosines.square()).sqrt()
    widened = cosines * math.cos(margin) - sines * math.sin(margin)
    own = torch.where(cosines > -math.cos(margin), widened, cosines - math.sin(margin) * margin)
    return F.cross_entropy(scale * torch.where(targets > 0, own, cosines), targets)


def sphereface2(cosines: Tensor, targets: Tensor, *, scale: float, margin: float, bias: Tensor) -> Tensor:
    """One binary problem a class, with a margin (Wen et al., ICLR 2022, type C): as ``aam_softmax``, and a bias."""
    similarity = 2 * ((cosines.float().clamp(-1, 1) + 1) / 2) ** SPHEREFACE2_T - 1
    own = F.softplus(-(scale * (similarity - margin) + bias)) * targets
    others = F.softplus(scale * (similarity + margin) + bias) * (1 - targets)
    weighted = SPHEREFACE2_LAMBDA * own.sum(dim=1) + (1 - SPHEREFACE2_LAMBDA) * others.sum(dim=1)
    return weighted.mean() / scale


def prototypical(embeddings: Tensor, labels: Tensor, *, crops: int, scale: float) -> Tensor:
    """Angular prototypical loss (Chung et al., Interspeech 2020): embeddings (batch, dimensions) -> scalar.

    Each ``crops`` neighbours are one speaker's. Each crop in turn must find the mean of its speaker's other crops among
    those of the batch's other speakers, by scaled cosine. It needs no class rows, which are learnt slowly where there
    are many speakers and few crops of each. labels: (batch,), to tell a speaker that was drawn twice from another one.
    """
    own = F.normalize(embeddings.float(), dim=1).unflatten(0, (-1, crops))  # (speakers, crops, dimensions)
    drawn = labels[::crops]
    same = (drawn[:, None] == drawn[None, :]) & ~torch.eye(len(drawn), dtype=torch.bool, device=labels.device)
    truth = torch.arange(len(drawn), device=labels.device)
    total = embeddings.new_zeros(())
    for number in range(crops):
        others = (own.sum(dim=1) - own[:, number]) / (crops - 1)
        cosines = own[:, number] @ F.normalize(others, dim=1).T
        total = total + F.cross_entropy((scale * cosines).masked_fill(same, float("-inf")), truth)
    return total / crops
