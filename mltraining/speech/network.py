"""The speaker network: a backbone, pooling, and a head for each loss. One network serves closed and open sets."""

import math
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from mltraining.speech import campplus
from mltraining.speech.config import MARGIN_LOSSES, Config, ConfigError, Training
from mltraining.speech.features.chunks import WINDOW, WINDOW_HOP
from mltraining.speech.torch_compat import load_timm

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the names that timm publishes weights under
SCALE, BIAS = 16.0, -8.0  # where the cosine head starts: p = 0.5 at cosine 0.5


class CosineHead(nn.Module):
    """logit = scale · cos(embedding, class row) + bias, as in SphereFace2 (Wen et al., ICLR 2022) without its margin.

    A class row lives in the embedding space, so a voiceprint is one more row. Scale and bias are learnt; the scale as
    its logarithm, so that it stays positive. With a margin loss the scale is always ``margin_scale``, and the loss
    recovers the cosines from the logits.
    """

    def __init__(self, dimensions: int, classes: int, *, margin_scale: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dimensions) / math.sqrt(dimensions))
        scale = torch.tensor(math.log(margin_scale or SCALE))
        self.log_scale = nn.Parameter(scale, requires_grad=margin_scale is None)
        self.bias = nn.Parameter(torch.tensor(BIAS if margin_scale is None else 0.0))

    def forward(self, embedding: Tensor) -> Tensor:
        """Compute logits: (batch, dimensions) -> (batch, classes)."""
        cosine = F.linear(F.normalize(embedding.float(), dim=1), F.normalize(self.weight.float(), dim=1))
        return self.log_scale.exp() * cosine + self.bias

    def cosines(self, logits: Tensor) -> Tensor:
        """Recover the cosines from the logits: (batch, classes) each."""
        return (logits.float() - self.bias) / self.log_scale.exp()


class Pool(nn.Module):
    """Pool over rows and frames: (batch, channels, rows, frames) -> (batch, channels * width)."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.width = 2 if kind in ("AverageMax", "Statistics") else 1
        if kind == "GeM":  # generalised mean (Radenović et al., 2018), exponent learnt from 3
            self.exponent = nn.Parameter(torch.tensor(3.0))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool. AverageMax and Statistics (mean and deviation) give two values for each channel."""
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
    """Turns log-mel spectrograms into embeddings of unit length, or into class logits.

    ``head`` is a linear layer on the pooled features with ``loss_function: BCE``, and a CosineHead with the others.
    Without classes there is no head; the network is an encoder, and only ``embed`` works.
    """

    def __init__(self, backbone: nn.Module, channels: int, config: Config, classes: int) -> None:
        super().__init__()
        architecture = config.architecture
        self.backbone = backbone
        self.pool = Pool(architecture.pool, channels)
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
        """Run the backbone: (batch, 1, mel, frames) -> its last maps (batch, channels, rows, frames')."""
        return self.backbone(features.contiguous(memory_format=torch.channels_last))

    def pooled(self, features: Tensor) -> Tensor:
        """Pool and project: (batch, 1, mel, frames) -> (batch, dimensions), not yet of unit length."""
        return self.projection(self.pool(self.maps(features)))

    @property
    def hears_windows(self) -> bool:
        """Whether ``heard`` can embed windows: only CAM++'s last maps have frames close enough together."""
        return self.pool.kind == "Statistics" and isinstance(self.backbone, campplus.CAMPPlus)

    def heard(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Do what ``pooled`` does, and the same with each window: (batch, windows, dimensions).

        A window has WINDOW frames of the spectrogram, WINDOW_HOP after the one before. What it is made of has heard
        its surroundings: windows of one recording are more alike than they would be alone.
        """
        assert isinstance(self.backbone, campplus.CAMPPlus)
        width, hop = (frames // self.backbone.stride for frames in (WINDOW, WINDOW_HOP))
        maps = self.maps(features).flatten(2)
        padded = F.pad(maps, (0, width))  # a recording shorter than a window has none; the two padded ones are dropped
        mean, square = (F.avg_pool1d(each, width, hop)[:, :, :-2] for each in (padded, padded.square()))
        deviation = ((square - mean.square()).clamp(min=0) + 1e-6).sqrt()
        return self.projection(self.pool(maps)), self.projection(torch.cat([mean, deviation], dim=1).transpose(1, 2))

    def embed(self, features: Tensor) -> Tensor:
        """Embed: (batch, 1, mel, frames) -> (batch, dimensions) float32 of unit length."""
        return F.normalize(self.pooled(features).float(), dim=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits (batch, classes) float32, and embeddings that are not yet of unit length."""
        if self.head is None:
            raise RuntimeError("this network is an encoder: it has no classes")
        pooled = self.pooled(features)
        return self.head(self.dropout(pooled)).float(), pooled


def _margin_scale(training: Training) -> float | None:
    return training.margin_scale if training.loss_function in MARGIN_LOSSES else None


def build_network(config: Config, classes: int, *, weights: bool = True) -> SpeakerNetwork:
    """Build the network that the configuration describes. With ``classes`` = 0 it has no head and is an encoder.

    ``weights=False`` skips ``architecture.pretrained``, where a checkpoint or a pipeline brings the weights. Nothing is
    downloaded: pretrained weights come from a local file or from the hub's local cache. Raises ConfigError for an
    unknown backbone and for weights that are missing or do not fit.
    """
    architecture = config.architecture
    if architecture.backbone != campplus.NAME and not load_timm().is_model(architecture.backbone):
        raise ConfigError(
            f"architecture.backbone: {architecture.backbone!r} is neither {campplus.NAME} nor a model of timm"
        )
    file = _weights_file(config) if weights and architecture.pretrained else None
    earlier = {} if file is None else _earlier_encoder(file)
    try:
        backbone = _backbone(config, None if earlier else file)
        if earlier:
            backbone.load_state_dict(_part(earlier, "backbone"))
    except Exception as error:  # timm raises whatever its loader or the model's constructor does
        if file is None:
            message = f"architecture.backbone: {architecture.backbone} takes no spectrogram: {error}"
        else:
            message = f"architecture.weights_file: {file} does not fit {architecture.backbone}: {error}"
        raise ConfigError(message) from error
    network = SpeakerNetwork(backbone, backbone.num_features, config, classes)
    if earlier:
        above = {name: _part(earlier, name) for name in ("pool", "projection")}
        fits = [_same_shapes(above[name], dict(getattr(network, name).state_dict())) for name in above]
        if all(fits):
            network.pool.load_state_dict(above["pool"])
            network.projection.load_state_dict(above["projection"])
            network.tells_voices = True
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _backbone(config: Config, weights: Path | None) -> Any:
    """Our own CAM++, or timm's model; ``weights`` are a file that timm published."""
    architecture = config.architecture
    if architecture.backbone == campplus.NAME:
        if weights is not None:
            raise ValueError("the file holds no encoder of this library")
        return campplus.CAMPPlus(config.audio.mel_frequency_bins)
    options: dict[str, Any] = {"in_chans": 1, "num_classes": 0, "global_pool": ""}
    if weights is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    return load_timm().create_model(architecture.backbone, **options)


def _weights_file(config: Config) -> Path:
    """``architecture.weights_file``, or the file that the hub's local cache holds for the backbone."""
    architecture = config.architecture
    if architecture.weights_file is not None:
        file = Path(architecture.weights_file)
        if not file.is_file():
            raise ConfigError(f"architecture.weights_file: {file} is not a file")
        return file
    own = architecture.backbone == campplus.NAME
    published = None if own else load_timm().get_pretrained_cfg(architecture.backbone)
    if published is not None and published.hf_hub_id:
        for name in (published.hf_hub_filename, *HUB_FILES):
            cached = name and try_to_load_from_cache(published.hf_hub_id, name)
            if isinstance(cached, str):
                return Path(cached)
    raise ConfigError(
        f"architecture.pretrained: the local cache holds no weights of {architecture.backbone}, and training downloads "
        "nothing. Name a local file (--set architecture.weights_file=FILE, .safetensors or .pth) or train from scratch "
        "(--set architecture.pretrained=false)."
    )


def _earlier_encoder(file: Path) -> dict[str, Tensor]:
    """What an earlier run's ``encoder.safetensors`` holds. Empty if the file is a timm model's."""
    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(("backbone.", "pool.", "projection."))]  # noqa: SIM118
        return {name: tensors.get_tensor(name) for name in names}


def _part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _same_shapes(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
