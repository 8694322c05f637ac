"""Encoders from elsewhere, small enough for a test: ONNX files that a test makes, and their descriptions."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

DIMENSIONS = 24
BANDS = 20
MEL: dict[str, Any] = {"kind": "mel", "bands": BANDS, "window_size": 200, "hop_size": 80, "fft_size": 256}
EXAMPLE = torch.randn(2, 100, BANDS)
DESCRIPTION: dict[str, Any] = {"sample_rate": 8000, "features": MEL, "chunks": {"min_frames": 20}}


class Statistics(nn.Module):
    """Mean and deviation of each band over time through a random map: (batch, frames, bands) -> (batch, 24)."""

    def __init__(self, bands: int = BANDS, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.map = nn.Linear(2 * bands, DIMENSIONS)

    def forward(self, features: Tensor) -> Tensor:
        deviation = (features.var(dim=1, unbiased=False) + 1e-3).sqrt()
        return self.map(torch.cat([features.mean(dim=1), deviation], dim=1))


class Random(Statistics):
    """Answers differently each time."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) + torch.rand_like(features[:, 0, :1])


def onnx_of(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    inputs: tuple[str, ...] = ("features",),
    output: str = "embedding",
    free: dict[int, str] | None = None,
    opset: int = 17,
) -> bytes:
    """The ONNX file's bytes. ``free`` are the axes of the first input that have no fixed size."""
    free = {0: "batch", 1: "frames"} if free is None else free
    axes = {inputs[0]: free, output: {0: "batch"} if 0 in free else {}}
    axes |= {name: {0: "batch"} for name in inputs[1:] if 0 in free}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        file = Path(scratch) / "model.onnx"
        warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is the older one
        torch.onnx.export(
            network.eval(),
            example if isinstance(example, tuple) else (example,),
            str(file),
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes=axes,
            opset_version=opset,
            dynamo=False,
        )
        return file.read_bytes()


def statistics(seed: int = 0) -> bytes:
    """The ONNX file of an encoder that belongs to DESCRIPTION."""
    return onnx_of(Statistics(seed=seed), EXAMPLE)
