import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from mltraining.speech.config import Config, ConfigError
from mltraining.speech.network import CosineHead, Pool, build_network
from mltraining.speech.training.losses import binary_cross_entropy, one_hot
from mltraining.speech.training.optimization import build_optimizer


def config(**sections: dict[str, Any]) -> Config:
    sections["architecture"] = {"backbone": "resnet18", "pretrained": False} | sections.get("architecture", {})
    return Config().with_values(**sections)


def test_one_network_gives_logits_and_unit_length_embeddings() -> None:
    for loss, kind in (("BCE", torch.nn.Linear), ("CosineBCE", CosineHead)):
        built = build_network(config(training={"loss_function": loss}), 5).eval()
        features = torch.randn(2, 1, 32, 40)
        assert isinstance(built.head, kind)
        logits, pooled = built(features)
        assert logits.shape == (2, 5)
        embedding = built.embed(features)
        torch.testing.assert_close(torch.nn.functional.normalize(pooled, dim=1), embedding)
        assert embedding.shape == (2, built.dimensions) == (2, 512)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_the_cosine_logit_is_scale_times_cosine_plus_bias() -> None:
    head = CosineHead(2, 2)
    head.weight.data = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    logits = head(torch.tensor([[5.0, 0.0], [1.0, 1.0]]))
    half = 16 * 2**-0.5 - 8
    torch.testing.assert_close(logits, torch.tensor([[8.0, -8.0], [half, half]]))
    assert {name for name, _ in head.named_parameters()} == {"weight", "log_scale", "bias"}  # scale and bias learn


def test_without_classes_it_is_an_encoder() -> None:
    encoder = build_network(config(architecture={"embedding_dimensions": 16}), 0).eval()
    assert encoder.embed(torch.randn(1, 1, 32, 40)).shape == (1, 16)
    with pytest.raises(RuntimeError, match="encoder"):
        encoder(torch.randn(1, 1, 32, 40))


def test_pools_are_exact() -> None:
    maps = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert Pool("Average", 1)(maps).tolist() == [[4.0]]
    assert Pool("Max", 1)(maps).tolist() == [[7.0]]
    assert Pool("AverageMax", 1)(maps).tolist() == [[4.0, 7.0]]
    torch.testing.assert_close(Pool("Statistics", 1)(maps), torch.tensor([[4.0, 5.0**0.5]]))
    torch.testing.assert_close(Pool("GeM", 1)(maps), torch.tensor([[(496 / 4) ** (1 / 3)]]))


def test_the_loss_is_the_mean_over_clips_and_classes() -> None:
    logits = torch.tensor([[0.0, 0.0], [100.0, -100.0]])
    loss = binary_cross_entropy(logits, one_hot(torch.tensor([0, 0]), 2))
    assert loss.item() == pytest.approx(torch.log(torch.tensor(2.0)).item() / 2)


def test_local_weights_are_loaded_into_one_channel(tmp_path: Path) -> None:
    source = build_network(config(), 0).backbone
    plain = torch.contiguous_format
    weights = {name: value.contiguous(memory_format=plain) for name, value in source.state_dict().items()}
    weights["conv1.weight"] = (weights["conv1.weight"] / 3).repeat(1, 3, 1, 1).contiguous()  # as pictures have it
    save_file(weights, tmp_path / "resnet18.safetensors")
    path = str(tmp_path / "resnet18.safetensors")
    loaded = build_network(config(architecture={"pretrained": True, "weights_file": path}), 0).backbone
    for name, value in source.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, msg=name)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty cache of the hub, and every address that anything tries to reach. None can be reached."""
    tried: list[str] = []

    def refuse(*address: object, **_: object) -> None:
        tried.append(str(address))
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def test_pretrained_without_local_weights_is_refused_with_two_ways_out_and_no_network(attempts: list[str]) -> None:
    with pytest.raises(ConfigError, match="architecture.weights_file=FILE.*architecture.pretrained=false"):
        build_network(config(architecture={"pretrained": True}), 3)
    assert attempts == []


def test_pretrained_weights_come_from_the_local_cache_of_the_hub(attempts: list[str], tmp_path: Path) -> None:
    source = build_network(config(), 0).backbone
    repository = tmp_path / "cache" / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    (repository / "snapshots" / ("1" * 40)).mkdir(parents=True)
    save_file(
        {name: value.contiguous(memory_format=torch.contiguous_format) for name, value in source.state_dict().items()},
        repository / "snapshots" / ("1" * 40) / "model.safetensors",
    )
    loaded = build_network(config(architecture={"pretrained": True}), 0).backbone
    for name, value in source.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, msg=name)
    assert attempts == []


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"backbone": "resnet_of_my_own"}, "architecture.backbone"),
        ({"pretrained": True, "weights_file": "absent.safetensors"}, "architecture.weights_file"),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_key(architecture: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(config(architecture=architecture), 3)


def test_layers_named_by_a_part_of_their_name_get_their_own_rate() -> None:
    training = config(
        training={
            "differential_learning_rate_layers": ["head", "layer4.1.conv"],
            "differential_learning_rate": 0.5,
            "learning_rate": 0.1,
        }
    ).training
    built = build_network(config(), 3)
    rates = {id(p): group["lr"] for group in build_optimizer(built, training).param_groups for p in group["params"]}
    assert len(rates) == len(list(built.parameters()))
    for name, parameter in built.named_parameters():
        assert rates[id(parameter)] == (0.5 if "head" in name or "layer4.1.conv" in name else 0.1), name


def test_a_layer_that_is_not_there_is_refused() -> None:
    training = config(training={"differential_learning_rate_layers": ["encoder.layer"]}).training
    with pytest.raises(ConfigError, match="differential_learning_rate_layers.*'encoder.layer'"):
        build_optimizer(build_network(config(), 3), training)
