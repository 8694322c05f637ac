"""CAM++: a densely connected time-delay network whose layers are masked by what stands around a frame.

Wang et al., "CAM++: a fast and efficient network for speaker verification using context-aware masking", Interspeech
2023. Seven million parameters, where resnet50 has 23 million.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "campplus"  # as architecture.backbone
ROW_CHANNELS = 32  # of the two-dimensional layers, which hear neighbouring rows
FIRST, GROWTH, BOTTLENECK = 128, 32, 128  # channels after the first layer, that each adds, and inside each
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of each dense block
SEGMENT = 100  # frames whose mean is the nearer of a mask's two contexts; the farther is the whole recording


def _normed(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU(inplace=True))


def _at_each(convolution: Any, rows: Tensor) -> Tensor:
    """Run a convolution of one frame over (batch, frames, channels), as a linear layer."""
    return F.linear(rows, convolution.weight[:, :, 0], convolution.bias)


class Residual(nn.Module):
    """Two 3 x 3 convolutions over rows and frames beside a shortcut. A stride halves the rows only."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        width = ROW_CHANNELS
        self.first = nn.Conv2d(width, width, 3, stride=(stride, 1), padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width, width, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Compute (batch, 32, rows, frames) -> (batch, 32, rows / stride, frames)."""
        heard = F.relu(self.first_norm(self.first(maps)))
        return F.relu(self.second_norm(self.second(heard)) + self.shortcut(maps))


class Segments(NamedTuple):
    """The segments of a series, which all layers share.

    ``inside`` (segments, frames): 1 where a frame is in a segment, else 0. ``contexts`` (segments, frames): the weights
    that give the sum of a segment's mean and the mean of all frames.
    """

    inside: Tensor
    contexts: Tensor

    @classmethod
    def of(cls, series: Tensor) -> "Segments":
        """Cut the frames of (batch, channels, frames); the last segment may be shorter."""
        frames = series.shape[2]
        of_frame = torch.arange(frames, device=series.device) // SEGMENT
        inside = (of_frame[::SEGMENT, None] == of_frame).to(series.dtype)
        return cls(inside, inside / inside.sum(dim=1, keepdim=True) + 1 / inside.shape[1])


class Masked(nn.Module):
    """One dense layer: what it finds in a few frames is weighed by what is said around them."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(_normed(channels), nn.Conv1d(channels, BOTTLENECK, 1, bias=False))
        self.norm = _normed(BOTTLENECK)
        self.local = nn.Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.mask = nn.Sequential(
            nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1), nn.ReLU(inplace=True), nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)
        )

    def forward(self, series: Tensor, segments: Segments) -> Tensor:
        """Compute (batch, channels, frames) -> (batch, 32, frames)."""
        heard = self.norm(self.enter(series))
        context = torch.matmul(segments.contexts, heard.transpose(1, 2))  # (batch, segments, BOTTLENECK)
        hidden = F.relu(_at_each(self.mask[0], context))
        mask = torch.sigmoid(_at_each(self.mask[2], hidden))  # one for each segment
        # As a matrix product, because picking a column for each frame takes four times as long.
        return self.local(heard) * torch.matmul(mask.transpose(1, 2), segments.inside)


class Dense(nn.Module):
    """Layers that each hear all that came before them; the last convolution halves the channels."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Masked(channels + number * GROWTH, dilation) for number in range(layers))
        width = channels + layers * GROWTH
        self.channels = width // 2
        self.leave = nn.Sequential(_normed(width), nn.Conv1d(width, self.channels, 1, bias=False))

    def forward(self, series: Tensor, segments: Segments) -> Tensor:
        """Compute (batch, channels, frames) -> (batch, ``channels``, frames)."""
        for layer in self.layers:
            series = torch.cat([series, layer(series, segments)], dim=1)
        heard: Tensor = self.leave(series)
        return heard


class CAMPPlus(nn.Module):
    """The backbone: spectrograms (batch, 1, rows, frames) -> (batch, ``num_features``, 1, frames / 2)."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        width = ROW_CHANNELS
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.residuals = nn.Sequential(*(Residual(stride) for stride in (2, 1, 2, 1)))
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=(2, 1), padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.first = nn.Sequential(
            nn.Conv1d(width * -(-rows // 8), FIRST, 5, stride=2, padding=2, bias=False), _normed(FIRST)
        )
        blocks, channels = [], FIRST
        for layers, dilation in BLOCKS:
            blocks.append(Dense(channels, layers, dilation))
            channels = blocks[-1].channels
        self.blocks = nn.ModuleList([*blocks, _normed(channels)])
        self.num_features = channels
        self.stride = 2  # frames that go in, for each that comes out

    def forward(self, features: Tensor) -> Tensor:
        """Compute the last series of frames, as maps of one row."""
        maps = self.last(self.residuals(self.stem(features)))
        series: Tensor = self.first(maps.flatten(1, 2))
        segments = Segments.of(series)
        *blocks, last = self.blocks
        for block in blocks:
            series = block(series, segments)
        heard: Tensor = last(series)
        return heard.unsqueeze(2)
