"""Export the voice encoder of the package Resemblyzer 0.1.4 (Apache-2.0) to ONNX.

Run it in an environment of its own; docs/importing-encoders.md has the commands:

    python export_resemblyzer.py resemblyzer.onnx resemblyzer.LICENSE
"""

import importlib.metadata
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

PACKAGE = "Resemblyzer"


class VoiceEncoder(nn.Module):
    """The network that the weights belong to: an LSTM of three layers, whose last state goes through one more."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, features: Tensor) -> Tensor:
        """Return the embeddings: (batch, frames, 40) -> (batch, 256), of unit length and never negative."""
        _, (state, _) = self.lstm(features)
        return nn.functional.normalize(torch.relu(self.linear(state[-1])), dim=1)


def main(model: str, licence: str) -> None:
    """Write the ONNX file: "features" (batch, 160, 40) -> "embedding" (batch, 256)."""
    files = importlib.metadata.files(PACKAGE) or []
    weights = next(each.locate() for each in files if each.name == "pretrained.pt")
    state = torch.load(str(weights), weights_only=True, map_location="cpu")["model_state"]
    network = VoiceEncoder()
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("similarity_")})
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 160, 40),),
        model,
        input_names=["features"],
        output_names=["embedding"],
        dynamic_axes={"features": {0: "batch"}, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    text = next(each.locate() for each in files if each.name == "LICENSE")
    Path(licence).write_text(Path(str(text)).read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
