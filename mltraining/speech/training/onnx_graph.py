"""One ONNX graph from samples to the embedding: the log-mel spectrogram and the network, in float32 and in 8 bits."""

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mltraining.speech.features.log_mel import LogMel, MatrixLogMel
from mltraining.speech.network import SpeakerNetwork
from mltraining.speech.scoring.onnx_runtime import FILES, INPUT, OUTPUT, WINDOWS

OPSET = 17
IN_FLOAT32 = ("/front_end/", "/mask/")  # parts whose nodes int8 leaves alone


class SamplesToEmbedding(nn.Module):
    """The whole encoder: (batch, samples) float32 -> (batch, dimensions) float32, not yet of unit length.

    Of a network that ``hears_windows`` also those of the windows: (batch, windows, dimensions).
    """

    def __init__(self, network: SpeakerNetwork, features: LogMel) -> None:
        super().__init__()
        self.front_end = MatrixLogMel(features)
        self.network = network

    def forward(self, samples: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Embed samples, of which there are at least ``features.size``."""
        features = self.front_end(samples)
        if not self.network.hears_windows:
            return self.network.pooled(features).float()
        whole, windows = self.network.heard(features)
        return whole.float(), windows.float()


def export(network: SpeakerNetwork, features: LogMel, folder: Path) -> None:
    """Write encoder.onnx: "samples" (batch, n) -> "embedding" (batch, dimensions), both float32.

    "windows" (batch, windows, dimensions) is there too where the network ``hears_windows``. Batch and length are free.
    The network is on the CPU; batch normalisation is folded into the convolutions.
    """
    draft = folder / f".{FILES['fp32']}"
    windows = {WINDOWS: {0: "batch", 1: "windows"}} if network.hears_windows else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is the older one
        torch.onnx.export(
            SamplesToEmbedding(network, features).eval(),  # it puts back the mode that it found, in all parts
            (torch.zeros(2, 3 * features.size),),
            str(draft),
            input_names=[INPUT],
            output_names=[OUTPUT, *windows],
            dynamic_axes={INPUT: {0: "batch", 1: "samples"}, OUTPUT: {0: "batch"}} | windows,
            opset_version=OPSET,
            dynamo=False,
        )
    os.replace(draft, folder / FILES["fp32"])


def quantise(folder: Path, clips: Iterable[np.ndarray]) -> None:
    """Write encoder-int8.onnx from encoder.onnx, calibrated on ``clips``, (n,) float32 each.

    Weights per channel, activations unsigned per tensor, ranges from the calibration's least and greatest values; the
    front end stays in float32, and so do the masks of CAM++, which are a few numbers that weigh whole segments.

    CAM++, in the middle of its training, on 30 held-out clips of 3 s, mean and least cosine to float32: all
    convolutions, calibrated on 20 clips, 0.983 and 0.736; without the masks, calibrated on 100, 0.990 and 0.981. These
    had weights of 8 bits; with 7, as here, the last two are 0.978 and 0.927.

    One trained resnet50 and 48 held-out clips of 3 s, mean cosine to float32: convolutions alone 0.9995; with Add,
    MaxPool and Relu too, 0.9995 by least and greatest, 0.9995 by entropy, 0.9996 or 0.9997 by percentile (99.999,
    99.99): one model does not tell these apart, and this one is the quickest to calibrate. What matters is that weights
    keep to 7 bits: with 8 it was 0.992 on a processor without VNNI, where ONNX Runtime's manual says that the products
    saturate.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        prepared, draft = Path(scratch) / "prepared.onnx", Path(scratch) / "draft.onnx"
        quant_pre_process(folder / FILES["fp32"], prepared, skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared).graph.node]
        quantize_static(
            prepared,
            draft,
            _Calibration(clips),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[name for name in names if any(part in name for part in IN_FLOAT32)],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        os.replace(draft, folder / FILES["int8"])


class _Calibration:
    """onnxruntime's CalibrationDataReader, which is known by its one method."""

    def __init__(self, clips: Iterable[np.ndarray]) -> None:
        self._clips: Iterator[np.ndarray] = iter(clips)

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip = next(self._clips, None)
        return None if clip is None else {INPUT: clip[None]}
