"""The losses: binary cross-entropy of each class, softmax or sigmoids with a margin, and the prototypical loss."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SPHEREFACE2_LAMBDA, SPHEREFACE2_T = 0.7, 3.0  # the published values (Wen et al., ICLR 2022)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Encode class indices: (batch,) -> (batch, classes) float32."""
    return F.one_hot(labels, classes).to(torch.float32)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips and classes of logits and targets in [0, 1]: (batch, classes) each -> scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)


def aam_softmax(cosines: Tensor, targets: Tensor, *, scale: float, margin: float) -> Tensor:
    """Additive angular margin (ArcFace, Deng et al., CVPR 2019): cosines (batch, classes), one-hot targets -> scalar.

    The angle to a clip's own class is widened by ``margin`` radians. Beyond pi, the cosine is lowered by a constant
    instead, so that the loss stays monotonic in the angle.
    """
    cosines = cosines.float().clamp(-1 + 1e-6, 1 - 1e-6)
    sines = (1 - cosines.square()).sqrt()
    widened = cosines * math.cos(margin) - sines * math.sin(margin)
    own = torch.where(cosines > -math.cos(margin), widened, cosines - math.sin(margin) * margin)
    return F.cross_entropy(scale * torch.where(targets > 0, own, cosines), targets)


def sphereface2(cosines: Tensor, targets: Tensor, *, scale: float, margin: float, bias: Tensor) -> Tensor:
    """One binary problem for each class, with a margin (Wen et al., ICLR 2022, type C). Shapes as ``aam_softmax``."""
    similarity = 2 * ((cosines.float().clamp(-1, 1) + 1) / 2) ** SPHEREFACE2_T - 1
    own = F.softplus(-(scale * (similarity - margin) + bias)) * targets
    others = F.softplus(scale * (similarity + margin) + bias) * (1 - targets)
    weighted = SPHEREFACE2_LAMBDA * own.sum(dim=1) + (1 - SPHEREFACE2_LAMBDA) * others.sum(dim=1)
    return weighted.mean() / scale


def prototypical(embeddings: Tensor, labels: Tensor, *, crops: int, scale: float) -> Tensor:
    """Angular prototypical loss (Chung et al., Interspeech 2020): embeddings (batch, dimensions) -> scalar.

    Each ``crops`` neighbours are of one speaker. Each crop in turn must find, by scaled cosine, the mean of its
    speaker's other crops among the means of the other speakers in the batch. This loss needs no class rows, which
    learn slowly with many speakers and few crops of each. ``labels`` (batch,) tell a speaker that was drawn twice from
    another one.
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
