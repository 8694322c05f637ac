"""Embeddings and logits of whole clips: chunked, averaged, batched where lengths agree."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from mltraining.speech.config import Config
from mltraining.speech.features.log_mel import LogMel, chunks
from mltraining.speech.network import SpeakerNetwork

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


Pooled = Callable[[Tensor], Tensor]  # (batch, 1, mel, frames) -> (batch, dimensions), float32, not yet of unit length


def pooled_by(network: SpeakerNetwork, config: Config) -> Pooled:
    """Return the network's pooling, in the precision that the configuration asks for."""
    device = next(network.parameters()).device

    def pooled(spectrograms: Tensor) -> Tensor:
        with autocast(device, config.environment.mixed_precision_inference):
            return network.pooled(spectrograms).float()

    return pooled


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
    embeddings, means = average(pooled_by(network, config), features, clips, config, on_clip=on_clip)
    logits = None
    if network.head is not None:
        with torch.inference_mode():
            heard = means if isinstance(network.head, nn.Linear) else embeddings  # a linear map keeps the mean
            logits = network.head(torch.from_numpy(heard).to(features.window.device)).float().cpu().numpy()
    network.train(was_training)
    return embeddings, logits


@torch.inference_mode()
def average(
    pooled: Pooled,
    features: LogMel,
    clips: Sequence[np.ndarray],
    config: Config,
    *,
    on_clip: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and means of the pooled vectors, (clips, dimensions) each, of clips (n,), float or int16.

    The clips are at the configured rate. A clip's embedding is the mean of its chunks' unit-length embeddings, weighted
    by their length, made unit length again; its mean pooled vector is weighted likewise. Chunks are batched only with
    others of as many frames, so that nothing is padded. ``on_clip`` gets the number of chunks done.
    """
    device = features.window.device
    by_frames: dict[int, list[tuple[int, np.ndarray]]] = {}
    for row, clip in enumerate(clips):
        for piece in chunks(clip, config.audio, config.prediction):
            by_frames.setdefault(features.frames(len(piece)), []).append((row, piece))

    rows: list[int] = []
    lengths: list[int] = []
    batches: list[np.ndarray] = []
    for frames, same in by_frames.items():
        size = max(1, int(BATCH_SECONDS * config.audio.sample_rate / (frames * config.audio.hop_size)))
        for start in range(0, len(same), size):
            batch = same[start : start + size]
            spectrograms = torch.cat([features(torch.from_numpy(piece)[None].to(device)) for _, piece in batch])
            batches.append(pooled(spectrograms).cpu().numpy())
            rows += [row for row, _ in batch]
            lengths += [len(piece) for _, piece in batch]
            on_clip(len(rows))
    vectors = np.concatenate(batches)  # (chunks, dimensions)
    weights = np.array(lengths, dtype=np.float32)[:, None]
    sums = np.zeros((2, len(clips), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums[0], rows, weights * _unit(vectors))
    np.add.at(sums[1], rows, weights * vectors)
    return _unit(sums[0]), sums[1] / np.bincount(rows, weights[:, 0])[:, None].astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
