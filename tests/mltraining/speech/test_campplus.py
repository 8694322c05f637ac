from pathlib import Path

import numpy as np
import pytest
import torch

from mltraining.speech.campplus import SEGMENT, CAMPPlus, Masked, Segments
from mltraining.speech.config import load_config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import build_network
from mltraining.speech.scoring.encoder import windows_of
from mltraining.speech.scoring.onnx_runtime import Encoder
from mltraining.speech.training import onnx_graph

RECIPE = Path(__file__).parents[3] / "mltraining" / "recipes" / "voice.yaml"


@pytest.mark.parametrize("frames", [20, 99, 100, 101, 250])
def test_it_halves_the_frames_and_takes_recordings_of_any_length(frames: int) -> None:
    network = CAMPPlus(59).eval()
    assert network(torch.randn(2, 1, 59, frames)).shape == (2, network.num_features, 1, -(-frames // 2))


def test_the_contexts_are_the_mean_of_a_segment_plus_that_of_all_frames() -> None:
    series = torch.rand(1, 3, 2 * SEGMENT + 30)
    found = Segments.of(series).contexts @ series.transpose(1, 2)
    for number, part in enumerate(series.split(SEGMENT, dim=2)):
        torch.testing.assert_close(found[:, number], part.mean(dim=2) + series.mean(dim=2))


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


def test_its_graph_hears_the_windows_of_a_recording_in_the_same_pass_as_torch_does(tmp_path: Path) -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    torch.manual_seed(4)
    network, features = build_network(config, 0).eval(), LogMel(config.audio)
    onnx_graph.export(network, features, tmp_path)
    encoder = Encoder(tmp_path / "encoder.onnx", features.size)
    assert network.hears_windows and encoder.hears_windows
    for samples, count in ((2400, 0), (4000, 1), (5000, 1), (6000, 2), (24_000, 11)):
        clip = 0.1 * torch.randn(samples)
        with torch.inference_mode():
            whole, windows = network.heard(features(clip[None]))
        found, parts = encoder.heard(clip.numpy())
        assert parts.shape == (count, network.dimensions)
        np.testing.assert_allclose(found, whole[0], atol=1e-3)
        np.testing.assert_allclose(parts, windows[0], atol=1e-3)


def test_a_window_is_what_the_network_pools_of_its_frames(tmp_path: Path) -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    torch.manual_seed(4)
    network = build_network(config, 0).eval()
    spectrogram = torch.rand(1, 1, 59, 200)
    with torch.inference_mode():
        _, windows = network.heard(spectrogram)
        second = network.projection(network.pool(network.maps(spectrogram)[..., 12:36]))
    torch.testing.assert_close(windows[:, 1], second, atol=1e-4, rtol=1e-4)


def test_the_windows_of_a_long_recording_begin_where_they_do_in_its_chunks() -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    found = windows_of([np.ones((49, 4)), np.ones((3, 4))], config)
    assert found.seconds == pytest.approx(0.48)
    np.testing.assert_allclose(found.starts[[0, 1, 48, 49, 51]], [0, 0.24, 11.52, 12, 12.48])
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1)
