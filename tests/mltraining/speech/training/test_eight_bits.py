"""What keeps an encoder's answer when its weights and activations are put into 8 bits."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from mltraining.speech.config import load_config
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.training.equalising import equalised
from mltraining.speech.training.rounding import LARGEST, rounded
from tests.support.model import small_config

RECIPE = Path(__file__).parents[4] / "mltraining" / "recipes" / "voice.yaml"
BASE_MODEL = Path(__file__).parents[4] / "mltraining" / "base_model"


def uneven() -> SpeakerNetwork:
    """A CAM++ whose channels differ as those of a trained one do."""
    torch.manual_seed(1)
    network = build_network(load_config(RECIPE, ["architecture.pretrained=false"]), 0).eval()
    for name, value in network.named_parameters():
        if name.endswith("weight") and value.dim() == 1:
            value.data = torch.exp(torch.randn_like(value))
    return network


def test_even_channels_leave_what_the_network_computes() -> None:
    network = uneven()
    pictures = [torch.randn(1, 1, 59, 120) for _ in range(2)]
    evened = equalised(network, pictures)
    with torch.inference_mode():
        torch.testing.assert_close(evened.embed(pictures[0]), network.embed(pictures[0]), atol=1e-5, rtol=1e-4)


def test_even_channels_share_their_range_with_the_weights_behind_them() -> None:
    network = uneven()
    picture = torch.randn(1, 1, 59, 120)
    (before, after) = (each.backbone.blocks[0].layers[3] for each in (network, equalised(network, [picture])))  # type: ignore[union-attr,index]
    by = before.enter[0][0].weight / after.enter[0][0].weight
    torch.testing.assert_close(after.enter[1].weight, before.enter[1].weight * by[:, None])
    assert by.min() > 0 and by.std() > 0


def test_other_networks_are_left_as_they_are(tmp_path: Path) -> None:
    network = build_network(small_config(tmp_path), 0)
    assert equalised(network, []) is network


def test_weights_that_are_rounded_together_keep_the_output_better_than_one_by_one() -> None:
    random = np.random.default_rng(0)
    heard = random.normal(size=(40, 8)) @ random.normal(size=(8, 500)) + 0.1 * random.normal(size=(40, 500))
    weight = random.normal(0, 3, size=(16, 40))
    alone, together = np.round(weight), rounded(weight, heard @ heard.T)
    errors = [np.square((codes - weight) @ heard).mean() for codes in (alone, together)]
    assert errors[1] < 0.3 * errors[0]
    assert together.dtype == np.int8 and np.abs(together - weight).max() < 6


def test_weights_beyond_7_bits_are_clipped_and_inputs_that_are_silent_do_no_harm() -> None:
    found = rounded(np.array([[100.0, -100.0, 3.4]]), np.zeros((3, 3)))
    np.testing.assert_array_equal(found, [[LARGEST, -LARGEST, 3]])


def test_no_sum_of_two_products_saturates_a_processor_without_vnni() -> None:
    """Two neighbouring products of an unsigned and a signed byte are summed in 16 bits there."""
    model = onnx.load(BASE_MODEL / "encoder-int8.onnx")
    weights = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8 and each.dims[1:]]
    assert len(weights) > 100
    greatest = max(int(np.abs(numpy_helper.to_array(each).astype(int)).max()) for each in weights)
    assert 2 * 255 * greatest <= np.iinfo(np.int16).max
