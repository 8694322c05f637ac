"""Embeddings and logits of whole clips: chunked, averaged, batched where lengths agree."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mltraining.speech.config import Config
from mltraining.speech.features import LogMel, chunks
from mltraining.speech.network import CosineHead, SpeakerNetwork

BATCH_SECONDS = 64.0  # of audio that go through the network together


def autocast(device: torch.device, wanted: bool) -> AbstractContextManager:
    """bfloat16 where the device computes in it, float16 on an older GPU, else float32."""
    if not wanted or (device.type == "cpu" and not cpu_computes_bfloat16()):
        return nullcontext()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.float16)
    return torch.autocast(device.type, dtype=torch.bfloat16)


def cpu_computes_bfloat16() -> bool:
    """Without the instructions bfloat16 is emulated, and slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@torch.inference_mode()
def run(
    network: SpeakerNetwork,
    features: LogMel,
    clips: Sequence[np.ndarray],
    config: Config,
    *,
    on_clip: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Clips (n,) each, float or int16 at the configured rate -> embeddings (clips, dimensions), logits (clips, classes)

    A clip's embedding is the mean of its chunks' unit-length embeddings, weighed by their length, made unit length
    again. Its logits (None without a head) are the cosine head's on that embedding, or the mean of the chunks' for
    the linear head. Chunks are batched only with others of as many frames, so that nothing is padded. ``on_clip`` gets
    the count of chunks done.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    pieces = [(row, piece) for row, clip in enumerate(clips) for piece in chunks(clip, config.audio, config.prediction)]
    by_frames: dict[int, list[tuple[int, np.ndarray]]] = {}
    for row, piece in pieces:
        by_frames.setdefault(features.frames(len(piece)), []).append((row, piece))

    embeddings = np.zeros((len(clips), network.dimensions), dtype=np.float32)
    linear = network.head if isinstance(network.head, nn.Linear) else None
    logits = None if linear is None else np.zeros((len(clips), linear.out_features), dtype=np.float32)
    weights = np.zeros(len(clips), dtype=np.float32)
    done = 0
    for frames, same in by_frames.items():
        size = max(1, int(BATCH_SECONDS * config.audio.sample_rate / (frames * config.audio.hop_size)))
        for start in range(0, len(same), size):
            batch = same[start : start + size]
            spectrograms = torch.cat([features(torch.from_numpy(piece)[None].to(device)) for _, piece in batch])
            with autocast(device, config.environment.mixed_precision_inference):
                pooled = network.pooled(spectrograms).float()
            vectors = F.normalize(pooled, dim=1).cpu().numpy()
            scores = None if linear is None else linear(pooled).cpu().numpy()
            for position, (row, piece) in enumerate(batch):
                embeddings[row] += len(piece) * vectors[position]
                weights[row] += len(piece)
                if logits is not None and scores is not None:
                    logits[row] += len(piece) * scores[position]
            done += len(batch)
            on_clip(done)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    if logits is not None:
        logits /= weights[:, None]
    elif isinstance(network.head, CosineHead):
        logits = network.head(torch.from_numpy(embeddings).to(device)).float().cpu().numpy()
    network.train(was_training)
    return embeddings, logits
