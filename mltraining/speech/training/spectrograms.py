"""Charts of the spectrograms that the network sees."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.training.dataset import Clips
from mltraining.speech.training.manifest import Manifest


@torch.inference_mode()
def write(folder: Path, manifest: Manifest, clips: Clips, features: LogMel, *, count: int) -> None:
    """Write ``spectrogram_1.png`` … of ``count`` training clips, spread over the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = manifest.train[np.linspace(0, len(manifest.train) - 1, min(count, len(manifest.train))).astype(int)]
    for number, row in enumerate(rows, start=1):
        samples = torch.from_numpy(clips.samples[row]).to(features.window.device)
        logmel = features(samples[None])[0, 0].cpu().numpy()  # (mel, frames)
        figure = Figure(figsize=(8, 3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        picture = axes.imshow(
            logmel, origin="lower", aspect="auto", cmap="magma", extent=(0, clips.seconds[row], 0, len(logmel))
        )
        figure.colorbar(picture, label="log power")
        axes.set(
            title=f"{manifest.clips['audio'][row]}\n{manifest.classes[manifest.labels[row]]}",
            xlabel="seconds",
            ylabel="mel row",
        )
        axes.title.set_fontsize(8)
        figure.savefig(folder / f"spectrogram_{number}.png", dpi=100)
