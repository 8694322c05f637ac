"""One ONNX graph from samples to the embedding: the log-mel spectrogram and the network, in float32 and in 8 bits."""

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mltraining.speech.features.log_mel import LogMel, MatrixLogMel
from mltraining.speech.network import SpeakerNetwork
from mltraining.speech.scoring.onnx_runtime import FILES, INPUT, OUTPUT, WINDOWS
from mltraining.speech.training import equalising, rounding

OPSET = 17
FRONT_END = "/front_end/"  # in the names of its nodes


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


def quantise(network: SpeakerNetwork, features: LogMel, folder: Path, clips: Sequence[np.ndarray]) -> None:
    """Write encoder-int8.onnx of a network on the CPU, calibrated on ``clips``, (n,) float32 each.

    Convolutions are in 8 bits, together with the ReLU behind them; what else there is stays in float32, above all the
    front end and the masks of CAM++, which are a few numbers that weigh whole segments. Weights are per channel;
    activations are unsigned, per tensor, and range from the least to the greatest value that calibration sees.

    Weights keep to 7 bits: with 8, the products saturate on a processor without VNNI. What 7 bits lose is regained by
    what ``equalising`` and ``rounding`` do; docs/experiments/eight-bits.md has what each is worth.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    spectrograms = (features(torch.from_numpy(clip)[None]) for clip in clips)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        prepared, draft = Path(scratch) / "prepared.onnx", Path(scratch) / "draft.onnx"
        export(equalising.equalised(network, spectrograms), features, Path(scratch))
        quant_pre_process(Path(scratch) / FILES["fp32"], prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            draft,
            _Calibration(clips),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_quantize=_in_8_bits(onnx.load(prepared).graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        rounding.round_weights(draft, prepared, clips)
        os.replace(draft, folder / FILES["int8"])


def _in_8_bits(graph: onnx.GraphProto) -> list[str]:
    """The names of the convolutions behind the front end, and of the ReLUs that come right after one."""
    convolutions = {
        node.output[0]: node.name
        for node in graph.node
        if node.op_type == "Conv" and not node.name.startswith(FRONT_END)
    }
    relus = [node.name for node in graph.node if node.op_type == "Relu" and node.input[0] in convolutions]
    return [*convolutions.values(), *relus]


class _Calibration:
    """onnxruntime's CalibrationDataReader, which is known by its one method."""

    def __init__(self, clips: Iterable[np.ndarray]) -> None:
        self._clips: Iterator[np.ndarray] = iter(clips)

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip = next(self._clips, None)
        return None if clip is None else {INPUT: clip[None]}
