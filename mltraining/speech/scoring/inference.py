"""The network under torch: embeddings and logits of whole clips, batched where lengths agree."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork, build_network
from mltraining.speech.scoring.averaging import Heard, Pooled, average
from mltraining.speech.scoring.folder import ENCODER

BATCH_SECONDS = 64.0  # of audio that go through the network together


def autocast(device: torch.device, wanted: bool) -> AbstractContextManager:
    """Return the precision to use: bfloat16 where the device computes in it, float16 on an older GPU, else float32."""
    if not wanted or (device.type == "cpu" and not cpu_computes_bfloat16()):
        return nullcontext()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.float16)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def cpu_computes_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16; without them it is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def pooled_by(
    network: SpeakerNetwork, features: LogMel, config: Config, on_clip: Callable[[int], None] = lambda done: None
) -> Pooled:
    """Return the network's pooling, in the precision that the configuration asks for.

    Pieces are batched only with others of as many frames, so that nothing is padded. ``on_clip`` gets the number of
    pieces done.
    """
    device = features.window.device

    @torch.inference_mode()
    def pooled(pieces: Sequence[np.ndarray]) -> np.ndarray:
        by_frames: dict[int, list[int]] = {}
        for row, piece in enumerate(pieces):
            by_frames.setdefault(features.frames(len(piece)), []).append(row)
        vectors = np.empty((len(pieces), network.dimensions), dtype=np.float32)
        done = 0
        for frames, same in by_frames.items():
            size = max(1, int(BATCH_SECONDS * config.audio.sample_rate / (frames * config.audio.hop_size)))
            for start in range(0, len(same), size):
                batch = same[start : start + size]
                heard = torch.cat([features(torch.from_numpy(pieces[row])[None].to(device)) for row in batch])
                with autocast(device, config.environment.mixed_precision_inference):
                    vectors[batch] = network.pooled(heard).float().cpu().numpy()
                done += len(batch)
                on_clip(done)
        return vectors

    return pooled


def heard_by(network: SpeakerNetwork, features: LogMel, config: Config) -> Heard | None:
    """Return what pools a piece and its windows; ``None`` where the network cannot."""
    if not network.hears_windows:
        return None

    @torch.inference_mode()
    def heard(piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spectrogram = features(torch.from_numpy(piece)[None].to(features.window.device))
        with autocast(features.window.device, config.environment.mixed_precision_inference):
            whole, windows = network.heard(spectrogram)
        return whole[0].float().cpu().numpy(), windows[0].float().cpu().numpy()

    return heard


def run(
    network: SpeakerNetwork,
    features: LogMel,
    clips: Sequence[np.ndarray],
    config: Config,
    *,
    on_clip: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return embeddings (clips, dimensions) and logits (clips, classes) of clips (n,), float or int16.

    The clips are at the configured rate. The embeddings are ``average``'s. The logits (None without a head) are the
    cosine head's on the embedding, or the mean of the chunks' for the linear head.
    """
    was_training = network.training
    network.eval()
    embeddings, means = average(pooled_by(network, features, config, on_clip), clips, config)
    logits = None
    if network.head is not None:
        with torch.inference_mode():
            heard = means if isinstance(network.head, nn.Linear) else embeddings  # a linear map keeps the mean
            logits = network.head(torch.from_numpy(heard).to(features.window.device)).float().cpu().numpy()
    network.train(was_training)
    return embeddings, logits


def load(folder: Path, config: Config, device: str) -> tuple[SpeakerNetwork, LogMel]:
    """Load a pipeline's encoder under torch. Raises what torch and safetensors raise for damaged weights."""
    network = build_network(config, 0, weights=False)
    network.load_state_dict(load_file(folder / ENCODER))
    return network.to(device).eval().requires_grad_(False), LogMel(config.audio).to(device)
