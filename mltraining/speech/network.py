"""timm backbone, pooling and the two heads: one network for the closed set and for the open set."""

import math
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from mltraining.speech.config import MARGIN_LOSSES, Config, ConfigError, Training
from mltraining.speech.torchvision_compat import load_timm

SCALE, BIAS = 16.0, -8.0  # where the cosine head starts: p = 0.5 at cosine 0.5


class CosineHead(nn.Module):
    """logit = scale · cos(embedding, class row) + bias, as in SphereFace2 (Wen et al., ICLR 2022) without its margin.

    A class row lives in the embedding space, so that a voiceprint is one more row. Scale and bias are learnt; the
    scale as its logarithm, so that it stays positive. With a margin loss the scale is ``margin_scale`` throughout, and
    the loss takes the cosines out of the logits again.
    """

    def __init__(self, dimensions: int, classes: int, *, margin_scale: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dimensions) / math.sqrt(dimensions))
        scale = torch.tensor(math.log(margin_scale or SCALE))
        self.log_scale = nn.Parameter(scale, requires_grad=margin_scale is None)
        self.bias = nn.Parameter(torch.tensor(BIAS if margin_scale is None else 0.0))

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, dimensions) -> (batch, classes)"""
        cosine = F.linear(F.normalize(embedding.float(), dim=1), F.normalize(self.weight.float(), dim=1))
        return self.log_scale.exp() * cosine + self.bias

    def cosines(self, logits: Tensor) -> Tensor:
        """What ``forward`` made logits of: (batch, classes)"""
        return (logits.float() - self.bias) / self.log_scale.exp()


class Pool(nn.Module):
    """(batch, channels, rows, frames) -> (batch, channels), or twice the channels for AverageMax and Statistics."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.width = 2 if kind in ("AverageMax", "Statistics") else 1
        if kind == "GeM":  # generalised mean (Radenović et al., 2018), exponent learnt from 3
            self.exponent = nn.Parameter(torch.tensor(3.0))

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.float().flatten(2)  # (batch, channels, rows · frames)
        match self.kind:
            case "Average":
                return maps.mean(dim=2)
            case "Max":
                return maps.amax(dim=2)
            case "AverageMax":
                return torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)
            case "GeM":
                return maps.clamp(min=1e-6).pow(self.exponent).mean(dim=2).pow(1 / self.exponent)
        return torch.cat([maps.mean(dim=2), (maps.var(dim=2, correction=0) + 1e-6).sqrt()], dim=1)  # Statistics


class SpeakerNetwork(nn.Module):
    """Log-mel in, unit-length embedding or class logits out.

    ``head`` is a linear layer on the pooled features for ``loss_function: BCE``, a CosineHead for ``CosineBCE``.
    Without classes there is no head, and only ``embed`` works: an encoder.
    """

    def __init__(self, backbone: nn.Module, channels: int, config: Config, classes: int) -> None:
        super().__init__()
        architecture = config.architecture
        self.backbone = backbone
        self.pool = Pool(architecture.pool)
        pooled = channels * self.pool.width
        self.dimensions = architecture.embedding_dimensions or pooled
        self.projection = nn.Linear(pooled, self.dimensions) if architecture.embedding_dimensions else nn.Identity()
        self.dropout = nn.Dropout(architecture.dropout)
        self.tells_voices = (
            False  # whether its embeddings mean something already: ``build_network`` took an earlier encoder
        )
        self.head: nn.Module | None = None
        if classes:
            training = config.training
            self.head = (
                nn.Linear(self.dimensions, classes)
                if training.loss_function == "BCE"
                else CosineHead(self.dimensions, classes, margin_scale=_margin_scale(training))
            )

    def maps(self, features: Tensor) -> Tensor:
        """(batch, 1, mel, frames) -> the backbone's last maps (batch, channels, rows, frames')"""
        return self.backbone(features.contiguous(memory_format=torch.channels_last))

    def pooled(self, features: Tensor) -> Tensor:
        """(batch, 1, mel, frames) -> (batch, dimensions), not yet of unit length"""
        return self.projection(self.pool(self.maps(features)))

    def embed(self, features: Tensor) -> Tensor:
        """(batch, 1, mel, frames) -> (batch, dimensions), float32, unit length"""
        return F.normalize(self.pooled(features).float(), dim=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 1, mel, frames) -> logits (batch, classes), float32, and embeddings, not yet of unit length"""
        if self.head is None:
            raise RuntimeError("this network is an encoder: it has no classes")
        pooled = self.pooled(features)
        return self.head(self.dropout(pooled)).float(), pooled


def _margin_scale(training: Training) -> float | None:
    return training.margin_scale if training.loss_function in MARGIN_LOSSES else None


def build_network(config: Config, classes: int, *, weights: bool = True) -> SpeakerNetwork:
    """A network for the configuration; ``classes`` = 0 leaves out the head.

    ``weights=False`` skips ``pretrained`` (a checkpoint or a pipeline brings them). Raises ConfigError for an unknown
    backbone, and at once where ``pretrained: true`` finds neither a local file nor the hub.
    """
    timm = load_timm()
    architecture = config.architecture
    options: dict = {"in_chans": 1, "num_classes": 0, "global_pool": ""}
    own = _earlier_encoder(architecture.weights_file) if weights and architecture.pretrained else {}
    if weights and architecture.pretrained and not own:
        options["pretrained"] = True
        if architecture.weights_file is not None:
            if not Path(architecture.weights_file).is_file():
                raise ConfigError(f"architecture.weights_file: {architecture.weights_file} is not a file")
            options["pretrained_cfg_overlay"] = {"file": architecture.weights_file}
    if not timm.is_model(architecture.backbone):
        raise ConfigError(f"architecture.backbone: {architecture.backbone!r} is not a timm model")
    try:
        with _quick_hub(wanted="pretrained" in options and architecture.weights_file is None):
            backbone = timm.create_model(architecture.backbone, **options)
            if own:
                backbone.load_state_dict(_part(own, "backbone"))
    except Exception as error:  # timm raises whatever its loader or the model's constructor does
        raise ConfigError(_why_not_built(config, bool(own) or "pretrained" in options, error)) from error
    network = SpeakerNetwork(backbone, backbone.num_features, config, classes)
    projection = _part(own, "projection")
    if own and _same_shapes(projection, dict(network.projection.state_dict())):
        network.projection.load_state_dict(projection)
        network.tells_voices = True
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _earlier_encoder(weights_file: str | None) -> dict[str, Tensor]:
    """What an earlier run's ``encoder.safetensors`` holds; empty where the file is a timm model's or none."""
    if weights_file is None or not weights_file.endswith(".safetensors") or not Path(weights_file).is_file():
        return {}
    with safe_open(weights_file, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(("backbone.", "projection."))}  # noqa: SIM118


def _part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _same_shapes(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}


def _why_not_built(config: Config, pretrained: bool, error: Exception) -> str:
    architecture = config.architecture
    if not pretrained:
        return f"architecture.backbone: {architecture.backbone} takes no spectrogram: {error}"
    if architecture.weights_file is not None:
        return f"architecture.weights_file: {architecture.weights_file} does not fit {architecture.backbone}: {error}"
    return (
        "architecture.pretrained: timm's hub is not reachable from here and its cache does not hold these weights. "
        "Two ways out: name a local file (--set architecture.weights_file=FILE, .safetensors or .pth) or train from "
        f"scratch (--set architecture.pretrained=false). Cause: {error}"
    )


@contextmanager
def _quick_hub(*, wanted: bool) -> Iterator[None]:
    """Where the hub does not answer within 3 s only its local cache is read, instead of 47 s of timm's retries."""
    if not wanted:
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=3):
            return True
    except OSError:
        return False
