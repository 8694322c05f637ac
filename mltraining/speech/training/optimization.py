"""Optimiser, differential learning rates and the schedule."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mltraining.speech.config import ConfigError, Training


def build_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Build the optimiser. Parameters named by ``differential_learning_rate_layers`` get their own rate.

    A layer names all parameters whose name contains it. Raises ConfigError if it matches none.
    """
    layers = training.differential_learning_rate_layers
    names = [name for name, _ in network.named_parameters()]
    for layer in layers:
        if not any(layer in name for name in names):
            raise ConfigError(f"training.differential_learning_rate_layers: no parameter's name contains {layer!r}")
    own: list[nn.Parameter] = []
    common: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (own if any(layer in name for layer in layers) else common).append(parameter)
    rates = ((common, training.learning_rate), (own, training.differential_learning_rate))
    groups = [{"params": parameters, "lr": rate} for parameters, rate in rates if parameters]
    match training.optimizer:
        case "AdamW":
            return torch.optim.AdamW(groups, weight_decay=training.weight_decay, fused=True)
        case "Adam":
            return torch.optim.Adam(groups, weight_decay=training.weight_decay)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=0.9, weight_decay=training.weight_decay)


def factor(step: int, *, steps: int, warmup_steps: int, schedule: str) -> float:
    """Return the factor of the learning rate in the optimiser's step 0, 1, …, steps - 1.

    Warm-up rises linearly and reaches 1 in its last step. Cosine and Linear then fall to 0, which the step after the
    last would have.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    match schedule:
        case "Cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "Linear":
            return 1 - done
    return 1.0


def build_scheduler(optimizer: torch.optim.Optimizer, training: Training, *, steps_an_epoch: int) -> LambdaLR:
    """Build the schedule. It moves with each step of the optimiser."""
    steps = training.epochs * steps_an_epoch
    warmup_steps = round(training.warmup_epochs * steps_an_epoch)
    return LambdaLR(
        optimizer,
        lambda step: factor(step, steps=steps, warmup_steps=warmup_steps, schedule=training.schedule),
    )
