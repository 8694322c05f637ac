"""How near training comes to what the device can do, and whether what prepares the crops keeps up with it.

``python -m mltraining.speech benchmark-training --config mltraining/recipes/telephone.yaml [--set SECTION.KEY=VALUE]``
prints a table of ratios measured in one run. It reads no speech: crops of noise cost as much.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mltraining.speech.config import Config, ConfigError, load_config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import build_network
from mltraining.speech.scoring import inference
from mltraining.speech.training import losses, optimization
from mltraining.speech.training.corruption import Corruption

DONE, REFUSED = 0, 2
SECONDS = 10.0  # for each of the measurements
CLASSES = 4096  # of the head, about as many as the telephone recipe's speakers at three speeds
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the plain product that stands for what is attainable


@dataclass(frozen=True)
class Measured:
    """Rates a second; operations count a multiplication and an addition as two."""

    trained: float  # crops that go forward and backward through the network, the optimiser's step included
    prepared: float  # crops cut, corrupted and ready, where nothing trains meanwhile
    operations_a_crop: float
    attainable: float  # operations of a plain matrix product in training's precision

    @property
    def share(self) -> float:
        """Of the attainable operations, those that training does."""
        return self.trained * self.operations_a_crop / self.attainable


def measure(config: Config, device: torch.device, *, seconds: float = SECONDS, classes: int = CLASSES) -> Measured:
    """Each rate over ``seconds``, after one call that is not counted. Raises ConfigError as training does."""
    length = round(config.audio.training_chunk_seconds * config.audio.sample_rate)
    batch = config.training.batch_size
    built = build_network(config, classes, weights=False).to(device).train()
    features = LogMel(config.audio).to(device)
    optimizer = optimization.build_optimizer(built, config.training)
    random = np.random.default_rng(0)
    samples = torch.from_numpy(random.normal(0, 0.1, (batch, length)).astype(np.float32)).to(device)
    targets = losses.one_hot(torch.from_numpy(random.integers(0, classes, batch)).to(device), classes)

    def step() -> None:
        with inference.autocast(device, config.environment.mixed_precision_training):
            logits, _ = built(features(samples))
        losses.binary_cross_entropy(logits, targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:
        step()
    return Measured(
        trained=batch * _rate(step, device, seconds),
        prepared=_prepared(config, length, seconds),
        operations_a_crop=counter.get_total_flops() / batch,
        attainable=_attainable(config, device, seconds),
    )


def _prepared(config: Config, length: int, seconds: float) -> float:
    random = np.random.default_rng(1)
    voices = [random.integers(-3000, 3000, 4 * length, dtype=np.int16) for _ in range(8)]
    corrupt = Corruption(config.augmentation, voices, seed=0)
    crop = voices[0][:length].astype(np.float32) / 32768
    workers = max(1, config.environment.number_of_workers)
    with ThreadPoolExecutor(workers) as pool:

        def some() -> None:
            list(pool.map(lambda own: corrupt(crop, own), random.spawn(16 * workers)))

        return 16 * workers * _rate(some, torch.device("cpu"), seconds)


def _attainable(config: Config, device: torch.device, seconds: float) -> float:
    size = MATRIX[device.type]
    factor = torch.randn(size, size, device=device)
    with inference.autocast(device, config.environment.mixed_precision_training):
        precision = (factor @ factor).dtype
    factor = factor.to(precision)  # once: the conversion is no part of the product
    return 2 * size**3 * _rate(lambda: factor @ factor, device, seconds)


def _rate(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls a second, the first of which is not counted; at least one is."""
    call()
    _wait_for(device)
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < seconds:
        call()
        _wait_for(device)
        count += 1
    return count / (time.perf_counter() - began)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 where the configuration is refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech benchmark-training", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="the training YAML")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override; repeatable")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each of the three measurements")
    parser.add_argument("--device", choices=sorted(MATRIX), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, options.set)
        found = measure(config, torch.device(options.device), seconds=options.seconds)
    except ConfigError as error:
        sys.stderr.write(f"error: {error.code}: {error}\n")
        return REFUSED
    sys.stdout.write(table(found, config))
    return DONE


def table(found: Measured, config: Config) -> str:
    """Markdown."""
    chunk, batch = config.audio.training_chunk_seconds, config.training.batch_size
    rows = [
        ("crops that the network trains on, a second", f"{found.trained:,.1f}"),
        ("crops prepared, a second, while nothing trains", f"{found.prepared:,.1f}"),
        ("operations a crop, forward and backward", f"{found.operations_a_crop / 1e9:,.1f} G"),
        ("operations a second, training", f"{found.trained * found.operations_a_crop / 1e9:,.0f} G"),
        ("operations a second, plain matrix product", f"{found.attainable / 1e9:,.0f} G"),
        ("training's share of that", f"{100 * found.share:.0f} %"),
    ]
    lines = [f"| {config.architecture.backbone}, {batch} crops of {chunk:g} s a batch | |", "| --- | ---: |"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows]) + "\n"
