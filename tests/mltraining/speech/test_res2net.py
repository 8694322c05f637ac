from pathlib import Path

import torch

from mltraining.speech.config import load_config
from mltraining.speech.network import Pool, build_network
from mltraining.speech.res2net import Block, SERes2Net

RECIPE = Path(__file__).parents[3] / "mltraining" / "recipes" / "voice.yaml"


def test_it_hears_33_bands_as_24_cepstra_and_halves_their_resolution_four_times() -> None:
    network = SERes2Net(33, cepstra=24).eval()
    maps = network(torch.randn(2, 1, 33, 160))
    assert maps.shape == (2, SERes2Net.num_features, 2, 10) == (2, 256, 2, 10)
    assert 0.8e6 < sum(parameter.numel() for parameter in network.parameters()) < 1.1e6


def test_without_cepstra_it_takes_the_bands_as_they_are() -> None:
    network = SERes2Net(33).eval()
    assert network(torch.randn(1, 1, 48, 100)).shape[:2] == (1, 256)


def test_a_scale_hears_the_one_before_it_except_where_the_resolution_changes() -> None:
    """The last convolution's output follows the first part of the channels only where the scales are joined."""
    for first, follows in ((False, True), (True, False)):
        torch.manual_seed(1)
        block = Block(32, 16, stride=1, first=first).eval()
        heard: list[torch.Tensor] = []
        block.convs[-1].register_forward_hook(lambda module, given, out, heard=heard: heard.append(out))
        block.reduce.weight.data.zero_()
        for channel in range(block.width):  # the first part hears the input, the others hear nothing
            block.reduce.weight.data[channel, channel] = 1.0
        block(torch.rand(1, 32, 8, 8))
        assert bool(heard[0].abs().sum() > 0) is follows


def test_attentive_pooling_is_the_mean_and_deviation_over_time_where_all_frames_weigh_alike() -> None:
    pool = Pool("Attentive", 3).eval()
    for parameter in pool.attention.parameters():
        parameter.data.zero_()
    maps = torch.randn(2, 3, 4, 50)
    series = maps.mean(dim=2)
    expected = torch.cat([series.mean(dim=2), series.std(dim=2, correction=0)], dim=1)
    torch.testing.assert_close(pool(maps), expected, atol=1e-4, rtol=1e-4)


def test_attentive_pooling_follows_the_frames_that_it_attends_to() -> None:
    pool = Pool("Attentive", 1).eval()
    first, last = pool.attention[0], pool.attention[3]
    assert isinstance(first, torch.nn.Conv1d) and isinstance(last, torch.nn.Conv1d)
    assert first.bias is not None and last.bias is not None
    first.weight.data.fill_(1.0)
    first.bias.data.zero_()
    last.weight.data.fill_(1.0)  # the louder a frame, the more it weighs
    last.bias.data.zero_()
    maps = torch.zeros(1, 1, 2, 10)
    maps[..., 3] = 5.0
    assert pool(maps)[0, 0].item() > 4.9


def test_the_recipe_builds_it() -> None:
    config = load_config(RECIPE, ["architecture.pretrained=false"])
    assert build_network(config, 0).eval().embed(torch.randn(1, 1, 33, 100)).shape == (1, 256)
