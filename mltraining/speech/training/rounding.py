"""Round the weights of an ONNX graph to 8 bits so that one weight makes up for the error of another.

Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers", ICLR 2023: the
weights of a layer are rounded one input after the other. Those that are not rounded yet take over what the rounding
changed of the layer's output, as far as their inputs go together with its input in real speech.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from mltraining.speech.scoring.onnx_runtime import INPUT, session

LARGEST = 64  # of a weight of 7 bits, as ONNX Runtime's quantiser writes it
DAMPING = 0.01  # of the inputs' mean square: keeps weights from growing where inputs go together
MOST_INPUTS = 2048  # of a layer; the weights of a larger one stay as they are, because their time grows with the cube


def round_weights(quantised: Path, prepared: Path, clips: Iterable[np.ndarray]) -> None:
    """Round the weights of the convolutions in ``quantised`` (QDQ) anew, in place. Their scales stay.

    ``prepared`` is the float32 graph that it was made of; ``clips`` are (n,) float32 each.
    """
    source, model = onnx.load(prepared), onnx.load(quantised)
    weights, codes = ({each.name: each for each in graph.initializer} for graph in (source.graph, model.graph))
    chosen = [
        node
        for node in source.graph.node
        if node.op_type == "Conv"
        and f"{node.input[1]}_quantized" in codes
        and np.prod(weights[node.input[1]].dims[1:]) <= MOST_INPUTS
    ]
    for node, products in zip(chosen, _products(source, chosen, clips), strict=True):
        name = node.input[1]
        weight = numpy_helper.to_array(weights[name])
        scales = numpy_helper.to_array(codes[f"{name}_scale"])
        found = rounded(weight.reshape(len(weight), -1) / scales[:, None], products).reshape(weight.shape)
        codes[f"{name}_quantized"].CopyFrom(numpy_helper.from_array(found, f"{name}_quantized"))
    onnx.save(model, quantised)


def rounded(weight: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Round (outputs, inputs), in units of the steps, to int8. ``products`` (inputs, inputs) of the inputs' values."""
    weight = weight.astype(np.float64)
    damping = max(DAMPING * np.diag(products).mean(), 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(products + damping * np.eye(len(products)))).T
    codes = np.empty(weight.shape, dtype=np.int8)
    for place in range(weight.shape[1]):
        codes[:, place] = np.clip(np.round(weight[:, place]), -LARGEST, LARGEST)
        error = (weight[:, place] - codes[:, place]) / upper[place, place]
        weight[:, place:] -= np.outer(error, upper[place, place:])
    return codes


def _products(
    model: onnx.ModelProto, convolutions: Sequence[onnx.NodeProto], clips: Iterable[np.ndarray]
) -> list[np.ndarray]:
    """Sum the products of each convolution's inputs over all places of all clips: (inputs, inputs) each."""
    tensors = list(dict.fromkeys(node.input[0] for node in convolutions))
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors)
    running: onnxruntime.InferenceSession = session(shown.SerializeToString(), torch.get_num_threads())
    sums = [np.zeros(())] * len(convolutions)
    for clip in clips:
        found = dict(zip(tensors, running.run(tensors, {INPUT: clip[None]}), strict=True))
        for number, node in enumerate(convolutions):
            heard = _heard(torch.from_numpy(found[node.input[0]]), node)
            sums[number] = sums[number] + (heard @ heard.T).double().numpy()
    return sums


def _heard(maps: Tensor, node: onnx.NodeProto) -> Tensor:
    """What the kernel of a convolution hears at each place: (1, channels, …) -> (channels * kernel, places)."""
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    kernel, line = given["kernel_shape"], maps.dim() == 3
    ones = [1] * len(kernel)
    dilation, stride = given.get("dilations", ones), given.get("strides", ones)
    padding = given.get("pads", [0] * 2 * len(kernel))[: len(kernel)]
    if line:  # as a picture of one row
        return F.unfold(maps[:, :, None], (1, *kernel), (1, *dilation), (0, *padding), (1, *stride))[0]
    return F.unfold(maps, tuple(kernel), tuple(dilation), tuple(padding), tuple(stride))[0]
