"""SpecAugment (Park et al., Interspeech 2019): a stripe of rows and a stripe of frames hidden."""

import torch
from torch import Tensor


def mask(spectrograms: Tensor, *, rows: int, frames: int) -> Tensor:
    """(batch, 1, mel, frames) -> the same, up to ``rows`` and up to ``frames`` of it at the spectrogram's mean."""
    if not rows and not frames:
        return spectrograms
    hidden = _stripe(spectrograms, 2, rows) | _stripe(spectrograms, 3, frames)
    return torch.where(hidden, spectrograms.mean(dim=(2, 3), keepdim=True), spectrograms)


def _stripe(spectrograms: Tensor, axis: int, widest: int) -> Tensor:
    """A mask that broadcasts over the other axis: each spectrogram's own stripe of 0 to ``widest``."""
    batch, size = len(spectrograms), spectrograms.shape[axis]
    device = spectrograms.device
    width = torch.randint(0, min(widest, size) + 1, (batch, 1), device=device)
    start = (torch.rand(batch, 1, device=device) * (size - width + 1)).long()
    place = torch.arange(size, device=device)[None]
    inside = (place >= start) & (place < start + width)
    return inside[:, None, :, None] if axis == 2 else inside[:, None, None, :]
