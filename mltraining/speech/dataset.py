"""Clips decoded once into memory, and the batches of random crops that training takes from them."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltraining.speech import audio
from mltraining.speech.manifest import DataError, Manifest

MAX_CLIP_SECONDS = 3600  # a training file may be a whole recording


@dataclass(frozen=True)
class Clips:
    """samples: one int16 array (n,) a manifest row, at the configured rate."""

    samples: list[np.ndarray]
    seconds: np.ndarray  # (clips,)
    source_rate: int  # Hz, the lowest of the clips' own: above half of it some have nothing
    data_hash: str  # SHA-256 over the rows and the bytes of their files


def load(
    manifest: Manifest, sample_rate: int, *, threads: int, skip_unreadable: bool, on_progress: Callable[[int], None]
) -> tuple[Manifest, Clips]:
    """Decode and resample every clip. ``on_progress`` gets the count of clips done.

    Returns the manifest without the clips left out. Raises DataError undecodable_audio, which lists the clips,
    unless ``skip_unreadable``.
    """
    decoded: list[tuple[np.ndarray, int, str] | None] = []
    failures: dict[int, str] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        paths = [manifest.data_folder / name for name in manifest.clips["audio"]]
        for row, result in enumerate(pool.map(lambda path: _decode(path, sample_rate), paths)):
            if isinstance(result, str):
                failures[row] = result
                decoded.append(None)
            else:
                decoded.append(result)
            on_progress(row + 1)
    if failures and not skip_unreadable:
        named = [f"{manifest.clips['audio'][row]} ({code})" for row, code in failures.items()]
        more = f" and {len(named) - 20} more" if len(named) > 20 else ""
        raise DataError(
            "undecodable_audio",
            f"{len(named)} clips cannot be decoded (dataset.skip_unreadable leaves them out): "
            + ", ".join(named[:20])
            + more,
            clips=named,
        )
    if failures:
        manifest = manifest.without(set(failures))
    kept = [item for item in decoded if item is not None]
    digest = hashlib.sha256()
    for (name, label, train, held_out), (_, _, file_hash) in zip(
        manifest.clips[["audio", "label", "train", "validation"]].itertuples(index=False), kept, strict=True
    ):
        digest.update(f"{name}\0{manifest.classes[label]}\0{train}\0{held_out}\0{file_hash}\n".encode())
    return manifest, Clips(
        samples=[samples for samples, _, _ in kept],
        seconds=np.array([len(samples) / sample_rate for samples, _, _ in kept]),
        source_rate=min(rate for _, rate, _ in kept),
        data_hash=digest.hexdigest(),
    )


def _decode(path: Path, sample_rate: int) -> tuple[np.ndarray, int, str] | str:
    """int16 samples, the source's rate and the file's SHA-256; or the code of what is wrong."""
    try:
        data = path.read_bytes()
        waveform = audio.decode(data, max_seconds=MAX_CLIP_SECONDS)
    except audio.AudioError as error:
        return error.code
    except OSError:
        return "unreadable_file"
    samples = audio.resample(waveform.samples, waveform.sample_rate, sample_rate)
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    return pcm, _source_rate(data, waveform), hashlib.sha256(data).hexdigest()


def _source_rate(data: bytes, waveform: audio.Waveform) -> int:
    """The rate that was recorded at (Hz). Opus always decodes to 48 kHz; its header has the input's (RFC 7845, 5.1)."""
    at = data.find(b"OpusHead", 0, 4096)
    if waveform.codec == "opus" and at >= 0:
        declared = int.from_bytes(data[at + 12 : at + 16], "little")
        if declared >= audio.MIN_SAMPLE_RATE:
            return min(declared, waveform.sample_rate)
    return waveform.sample_rate


def epoch_batches(
    rows: np.ndarray,
    clips: Clips,
    labels: np.ndarray,
    *,
    batch_size: int,
    chunk: int,
    drop_last: bool,
    random: np.random.Generator,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch: crops (batch, chunk) int16 and class indices (batch,).

    The same ``random`` gives the same batches. Of ``world`` processes each gets its own share of every batch, so
    that together they take the batches that one process would.
    """
    order = random.permutation(rows)
    offsets = random.random(len(order))
    for start in range(0, len(order), batch_size):
        stop = start + batch_size
        if stop > len(order) and drop_last and start > 0:
            return
        rows_here, offsets_here = order[start:stop], offsets[start:stop]
        if world > 1:  # every process takes as many, or they would wait for each other for ever
            share = max(1, len(rows_here) // world)
            mine = np.arange(rank * share, (rank + 1) * share) % len(rows_here)
            rows_here, offsets_here = rows_here[mine], offsets_here[mine]
        crops = np.stack(
            [crop(clips.samples[row], chunk, offset) for row, offset in zip(rows_here, offsets_here, strict=True)]
        )
        yield crops, labels[rows_here]


def batches_an_epoch(clips: int, batch_size: int, drop_last: bool) -> int:
    """How many batches ``epoch_batches`` yields; a set smaller than a batch is one batch even with drop_last."""
    return max(1, clips // batch_size if drop_last else -(-clips // batch_size))


def crop(samples: np.ndarray, length: int, offset: float) -> np.ndarray:
    """(n,) -> (length,): a stretch that starts at ``offset`` in [0, 1) of what is free.

    A clip shorter than ``length`` is repeated: it stays the speaker's voice throughout, where zeros would teach
    the network how long the clip was.
    """
    if len(samples) >= length:
        start = int(offset * (len(samples) - length + 1))
        return samples[start : start + length]
    return np.resize(samples, length)
