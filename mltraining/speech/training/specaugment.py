"""SpecAugment (Park et al., Interspeech 2019): a stripe of mel rows and a stripe of frames hidden."""

from torch import Tensor

from mltraining.speech.torch_compat import load_torchaudio


def mask(spectrograms: Tensor, *, rows: int, frames: int) -> Tensor:
    """Hide up to ``rows`` rows and up to ``frames`` frames of each: (batch, 1, mel, frames) -> the same shape.

    Each spectrogram has its own stripes, at its own mean. A width is drawn evenly from 0 to the greatest.
    """
    if not rows and not frames:
        return spectrograms
    hide = load_torchaudio().functional.mask_along_axis_iid
    mean = spectrograms.mean(dim=(2, 3), keepdim=True)
    masked = spectrograms - mean
    for axis, widest in ((2, rows), (3, frames)):
        if widest:
            masked = hide(masked, min(widest, spectrograms.shape[axis]) + 1, mask_value=0.0, axis=axis)
    return masked + mean
