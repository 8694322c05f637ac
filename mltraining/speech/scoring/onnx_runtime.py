"""The encoder under ONNX Runtime: float32 and static int8, for scoring on CPUs.

    encoder.onnx       float32
    encoder-int8.onnx  convolutions in 8 bits (QDQ), the rest float32; calibrated on real features

The log-mel stays ``features.LogMel``, so that there is one of it: of 3 s of speech it takes 0.7 ms, where a resnet50
takes 25 (int8) or 45 (float32).
"""

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from mltraining.speech.config import Config
from mltraining.speech.network import SpeakerNetwork

Export = Literal["fp32", "int8"]
FILES: dict[Export, str] = {"fp32": "encoder.onnx", "int8": "encoder-int8.onnx"}
MAX_EER_RISE = 0.001  # absolute; an export in 8 bits that costs more is not the default
OPSET = 17


class Encoder:
    """A loaded export. Safe to share between threads."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        """``content``: the file's bytes. Raises ValueError where ONNX Runtime cannot read them."""
        self._session = session(content, threads)

    def run(self, features: np.ndarray) -> np.ndarray:
        """(batch, 1, mel, frames) -> (batch, dimensions), both float32; not yet of unit length."""
        return self._session.run(["embedding"], {"features": features})[0]

    def pooled(self, features: Tensor) -> Tensor:
        """``run`` on tensors: what ``SpeakerNetwork.pooled`` is to torch."""
        return torch.from_numpy(self.run(features.numpy()))


def session(content: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load a model on the CPU from its file's bytes. Raises ValueError where ONNX Runtime cannot read them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Spinning threads would take the cores from the neighbours, as OpenMP's would (see launcher/parts.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ValueError(f"ONNX Runtime cannot read the model: {error}") from error


def export(network: SpeakerNetwork, config: Config, folder: Path) -> None:
    """Write encoder.onnx: "features" (batch, 1, mel, frames) -> "embedding" (batch, dimensions), both float32.

    Batch and frames are free. The network is on the CPU; batch normalisation is folded into the convolutions.
    """
    example = torch.zeros(2, 1, config.audio.mel_frequency_bins, 200)
    draft = folder / f".{FILES['fp32']}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is the older one
        torch.onnx.export(
            _Pooled(network).eval(),  # it puts back the mode that it found, in all parts of the network
            (example,),
            str(draft),
            input_names=["features"],
            output_names=["embedding"],
            dynamic_axes={"features": {0: "batch", 3: "frames"}, "embedding": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    os.replace(draft, folder / FILES["fp32"])


def quantise(folder: Path, features: Iterable[np.ndarray]) -> None:
    """Write encoder-int8.onnx from encoder.onnx, calibrated on ``features``, (1, 1, mel, frames) each.

    Weights per channel, activations unsigned per tensor, ranges from the calibration's least and greatest values.
    Tried on one trained resnet50 and 48 held-out clips of 3 s, mean cosine to float32: convolutions alone 0.9995;
    with Add, MaxPool and Relu too, 0.9995 by least and greatest, 0.9995 by entropy, 0.9996 or 0.9997 by percentile
    (99.999, 99.99): one model does not tell these apart, and this one is the quickest to calibrate. What matters is
    that weights keep to 7 bits: with 8 it was 0.992 on a processor without VNNI, where ONNX Runtime's manual says that
    the products saturate.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        prepared, draft = Path(scratch) / "prepared.onnx", Path(scratch) / "draft.onnx"
        quant_pre_process(folder / FILES["fp32"], prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            draft,
            _Calibration(features),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        os.replace(draft, folder / FILES["int8"])


def choose(exports: Mapping[str, Any]) -> Export:
    """ "int8" where its EER rises by less than 0.1 point absolute over float32's, both measured; else "fp32"."""
    before, after = (exports.get(name, {}).get("eer") for name in ("fp32", "int8"))
    measured = before is not None and after is not None
    return "int8" if measured and after - before < MAX_EER_RISE else "fp32"


class _Pooled(nn.Module):
    def __init__(self, network: SpeakerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network.pooled(features).float()


class _Calibration:
    """onnxruntime's CalibrationDataReader, which is known by its one method."""

    def __init__(self, features: Iterable[np.ndarray]) -> None:
        self._features: Iterator[np.ndarray] = iter(features)

    def get_next(self) -> dict[str, np.ndarray] | None:
        features = next(self._features, None)
        return None if features is None else {"features": features}
