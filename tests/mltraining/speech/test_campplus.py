from pathlib import Path

import pytest
import torch

from mltraining.speech.campplus import SEGMENT, CAMPPlus, Masked, Segments
from mltraining.speech.config import load_config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import build_network
from mltraining.speech.scoring.onnx_runtime import Encoder
from mltraining.speech.training import onnx_graph

RECIPE = Path(__file__).parents[3] / "mltraining" / "recipes" / "voice.yaml"


@pytest.mark.parametrize("frames", [20, 99, 100, 101, 250])
def test_it_halves_the_frames_and_takes_recordings_of_any_length(frames: int) -> None:
    network = CAMPPlus(59).eval()
    assert network(torch.randn(2, 1, 59, frames)).shape == (2, network.num_features, 1, -(-frames // 2))


def test_the_contexts_are_the_mean_of_a_segment_plus_that_of_all_frames() -> None:
    series = torch.rand(1, 3, 2 * SEGMENT + 30)
    found = series @ Segments.of(series).contexts
    for number, part in enumerate(series.split(SEGMENT, dim=2)):
        torch.testing.assert_close(found[..., number], part.mean(dim=2) + series.mean(dim=2))


def test_a_mask_hears_its_own_segment_and_the_whole_recording() -> None:
    """A change in the second segment reaches the first through the recording's mean alone, and the other way round."""
    torch.manual_seed(3)
    layer = Masked(64, dilation=1).eval()
    torch.nn.init.zeros_(layer.local.weight)
    layer.local.weight.data[:, :, 1] = 1.0  # the middle frame alone
    series = torch.rand(1, 64, 2 * SEGMENT)
    changed = series.clone()
    changed[..., SEGMENT + 10 :] += 1.0
    segments = Segments.of(series)
    difference = (layer(series, segments) - layer(changed, segments)).abs()
    assert difference[..., :SEGMENT].max() > 0  # through the mean
    assert difference[..., SEGMENT : SEGMENT + 10].mean() > difference[..., :SEGMENT].mean()  # and its own segment


def test_the_recipe_builds_it() -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    network = build_network(config, 0).eval()
    assert network.embed(torch.randn(1, 1, 59, 100)).shape == (1, 192)
    assert 6e6 < sum(parameter.numel() for parameter in network.parameters()) < 7.5e6


def test_its_graph_from_samples_to_the_embedding_is_what_torch_computes(tmp_path: Path) -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    torch.manual_seed(4)
    network, features = build_network(config, 0).eval(), LogMel(config.audio)
    onnx_graph.export(network, features, tmp_path)
    encoder = Encoder(tmp_path / "encoder.onnx", features.size)
    for samples in (features.size, 4000, 16_040, 40_000):
        clip = 0.1 * torch.randn(1, samples)
        with torch.inference_mode():
            expected = network.embed(features(clip))
        found = torch.nn.functional.normalize(torch.from_numpy(encoder.run(clip.numpy())))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
