"""The loss of both heads: binary cross-entropy of every class by itself.

With ``BCE`` the logits come from the linear head, with ``CosineBCE`` from scaled cosines (see ``network.CosineHead``).
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(batch,) class indices -> (batch, classes) float32"""
    return F.one_hot(labels, classes).to(torch.float32)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """logits, targets in [0, 1]: (batch, classes) -> scalar, the mean over clips and classes"""
    return F.binary_cross_entropy_with_logits(logits.float(), targets)
