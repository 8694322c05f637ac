"""SE-Res2Net-50, thin: residual blocks that hear at several scales, with squeeze and excitation.

Gao et al., "Res2Net: a new multi-scale backbone architecture", 2019; Hu et al., "Squeeze-and-excitation networks",
2018. With 16 channels in the first stage it has a million parameters, where resnet50 has 23 million.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "se_res2net50"  # as architecture.backbone
STEM = 16  # channels of the stem
DEPTHS, WIDTHS = (3, 4, 6, 3), (16, 32, 64, 128)  # blocks of each stage, and their channels before the expansion
EXPANSION = 2
BASE_WIDTH, SCALES = 26, 4  # of 64 channels, each of 4 scales has 26
REDUCTION = 16  # of the squeeze


class Excitation(nn.Module):
    """Weigh each channel by what the whole recording holds: (batch, channels, rows, frames) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION, bias=False)
        self.excite = nn.Linear(channels // REDUCTION, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh."""
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(maps.mean(dim=(2, 3))))))
        return maps * weights[:, :, None, None]


class Block(nn.Module):
    """A bottleneck whose channels are split into scales; each scale also hears the one before it.

    The ``first`` block of a stage keeps its scales apart, because it changes their resolution.
    """

    def __init__(self, channels: int, width: int, *, stride: int, first: bool) -> None:
        super().__init__()
        self.width, self.first = math.floor(width * BASE_WIDTH / 64), first
        split, out = self.width * SCALES, width * EXPANSION
        self.reduce = nn.Conv2d(channels, split, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(split)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, stride=stride, padding=1, bias=False) for _ in range(SCALES - 1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(SCALES - 1))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if first else nn.Identity()
        self.expand = nn.Conv2d(split, out, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(out)
        self.excitation = Excitation(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(channels, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Compute (batch, channels, rows, frames) -> (batch, channels', rows', frames')."""
        parts = F.relu(self.reduce_norm(self.reduce(maps))).split(self.width, dim=1)
        heard: list[Tensor] = []
        for part, conv, norm in zip(parts, self.convs, self.norms, strict=False):  # the last part has no convolution
            joined = part + heard[-1] if heard and not self.first else part
            heard.append(F.relu(norm(conv(joined))))
        heard.append(self.pool(parts[-1]))
        out = self.excitation(self.expand_norm(self.expand(torch.cat(heard, dim=1))))
        return F.relu(out + self.shortcut(maps))


class SERes2Net(nn.Module):
    """The backbone: spectrograms (batch, 1, rows, frames) -> maps (batch, ``num_features``, rows / 16, frames / 16).

    ``rows``: of the spectrogram. ``cepstra``: a linear map takes them to so many first, as the cosine transform does
    for cepstral coefficients; 0 leaves them as they are.
    """

    num_features = WIDTHS[-1] * EXPANSION

    def __init__(self, rows: int, cepstra: int = 0) -> None:
        super().__init__()
        self.cepstra = nn.Linear(rows, cepstra) if cepstra else nn.Identity()
        stem: list[nn.Module] = []
        for channels in (1, STEM, STEM):
            stem += [nn.Conv2d(channels, STEM, 3, padding=1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem)
        blocks, channels = [], STEM
        for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(Block(channels, width, stride=stride, first=not number))
                channels = width * EXPANSION
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the last maps."""
        heard = self.cepstra(features.transpose(2, 3)).transpose(2, 3)
        maps: Tensor = self.blocks(F.max_pool2d(self.stem(heard), 3, stride=2, padding=1))
        return maps
