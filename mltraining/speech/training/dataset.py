"""Clips decoded once into memory, and the batches of random crops that training takes from them."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltraining.speech.audio import decoding, quality
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.waveform import Waveform, crop, resample
from mltraining.speech.training import children, sealed
from mltraining.speech.training.manifest import DataError, Manifest
from mltraining.speech.training.teaching import Lessons

# One crop (n,) float32 and the generator of its random choices -> the crop as it arrives, (n,) float32
Corrupt = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# Crops (batch, n) int16, class indices (batch,) and, where there are teachers, what they say (batch, d) float32
Crops = tuple[np.ndarray, np.ndarray, np.ndarray | None]
MAX_CLIP_SECONDS = 3600  # a training file may be a whole recording


@dataclass(frozen=True)
class Clips:
    """The decoded clips of a manifest. ``samples``: one int16 array (n,) for each row, at the configured rate."""

    samples: list[np.ndarray]
    seconds: np.ndarray  # (clips,)
    source_rate: int  # Hz, the lowest of the clips' own; above half of it, some clips hold nothing
    data_hash: str  # SHA-256 over the rows and the bytes of their files


def load(
    manifest: Manifest,
    sample_rate: int,
    *,
    threads: int,
    skip_unreadable: bool,
    speech_only: bool = False,
    on_progress: Callable[[int], None],
) -> tuple[Manifest, Clips]:
    """Decode and resample every clip, without its pauses if ``speech_only``. ``on_progress`` gets the number done.

    Returns the manifest of the clips that could be decoded. Raises DataError undecodable_audio, which lists the others,
    unless ``skip_unreadable`` allows leaving them out.
    """
    decoded: list[tuple[np.ndarray, int, str] | None] = []
    failures: dict[int, str] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        folder, names = manifest.data_folder, manifest.clips["audio"]
        for row, result in enumerate(pool.map(lambda name: _decode(folder, name, sample_rate, speech_only), names)):
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


def _decode(folder: Path, name: str, sample_rate: int, speech_only: bool) -> tuple[np.ndarray, int, str] | str:
    """Return int16 samples, the source's rate (Hz) and the file's SHA-256, or the code of what is wrong."""
    try:
        data = sealed.read(folder, name)
        waveform = decoding.decode(data, max_seconds=MAX_CLIP_SECONDS)
    except AudioError as error:
        return error.code
    except OSError:
        return "unreadable_file"
    rate = source_rate(data, waveform)
    if speech_only:
        waveform = quality.speech_only(waveform)
    samples = resample(waveform.samples, waveform.sample_rate, sample_rate)
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    return pcm, rate, hashlib.sha256(data).hexdigest()


def source_rate(data: bytes, waveform: Waveform) -> int:
    """Return the recorded rate (Hz). Opus always decodes to 48 kHz; its header has the input's (RFC 7845, 5.1)."""
    at = data.find(b"OpusHead", 0, 4096)
    if waveform.codec == "opus" and at >= 0:
        declared = int.from_bytes(data[at + 12 : at + 16], "little")
        if declared >= decoding.MIN_SAMPLE_RATE:
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
) -> Iterator[Crops]:
    """Yield the batches of one epoch, without lessons.

    The same ``random`` gives the same batches. Each of ``world`` processes gets its own share of every batch, so that
    together they take the batches that one process would.
    """
    order = random.permutation(rows)
    offsets = random.random(len(order))
    for start in range(0, len(order), batch_size):
        stop = start + batch_size
        if stop > len(order) and drop_last and start > 0:
            return
        rows_here, offsets_here = order[start:stop], offsets[start:stop]
        if world > 1:  # every process takes the same number, or they would wait for each other for ever
            share = max(1, len(rows_here) // world)
            mine = np.arange(rank * share, (rank + 1) * share) % len(rows_here)
            rows_here, offsets_here = rows_here[mine], offsets_here[mine]
        crops = np.stack(
            [crop(clips.samples[row], chunk, offset) for row, offset in zip(rows_here, offsets_here, strict=True)]
        )
        yield crops, labels[rows_here], None


def at_speeds(clips: Clips, rows: np.ndarray, speeds: Sequence[float]) -> list[dict[int, np.ndarray]]:
    """Return the chosen clips, by row, at their own speed and at each of ``speeds`` (0.9 is slower and lower).

    Speed moves the pitch and the formants with it, so the network hears another speaker.
    """
    versions = [{int(row): clips.samples[row] for row in rows}]
    for speed in speeds:
        scaled = (_at_speed(clips.samples[row], speed) for row in rows)
        versions.append(dict(zip((int(row) for row in rows), scaled, strict=True)))
    return versions


def _at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    resampled = resample(samples.astype(np.float32) / 32768, round(1000 * speed), 1000)
    return np.clip(np.round(resampled * 32768), -32768, 32767).astype(np.int16)


Drawn = tuple[np.ndarray, int, np.ndarray | None]  # one crop, its class index, its lesson


class BalancedCrops:
    """Crops drawn over speakers, with ``speed_probability`` at one of ``speeds``.

    Each ``crops_a_speaker`` neighbours are of one speaker, drawn with the weight (seconds of speech)^(1 - balance). A
    crop begins at a random place of one of the speaker's clips and continues with further clips until it is full:
    three words of one second make one crop of three seconds.

    The class index of speaker s at version v is s + v * speakers; version 0 is the clips' own speed.
    """

    def __init__(
        self,
        manifest: Manifest,
        clips: Clips,
        *,
        speeds: Sequence[float],
        balance: float,
        corrupt: Corrupt,
        speed_probability: float = 0.5,
        crops_a_speaker: int = 1,
        lessons: Lessons | None = None,
        speaker_lesson_share: float = 0.5,
    ) -> None:
        rows, labels = manifest.train, manifest.labels[manifest.train]
        self.speakers = len(manifest.classes)
        self.versions = at_speeds(clips, rows, speeds)
        self.rows = [rows[labels == label] for label in range(self.speakers)]
        seconds = np.array([clips.seconds[own].sum() for own in self.rows])
        self.share = seconds ** (1 - balance) / (seconds ** (1 - balance)).sum()
        self.lengths = [clips.seconds[own] / clips.seconds[own].sum() for own in self.rows]
        self.corrupt = corrupt
        self.speed_probability = speed_probability
        self.crops_a_speaker = crops_a_speaker
        self.lessons, self.speaker_lesson_share = lessons, speaker_lesson_share
        self._pool: ProcessPoolExecutor | None = None

    @property
    def classes(self) -> int:
        """How many classes there are: speakers times speeds."""
        return self.speakers * len(self.versions)

    def voices(self, length: int) -> list[np.ndarray]:
        """Return the beginning of each class's speech, at most ``length`` samples, by class index."""
        return [
            np.concatenate([version[int(row)] for row in own])[:length]
            for version in self.versions
            for own in self.rows
        ]

    def batches(
        self,
        *,
        crops: int,
        batch_size: int,
        lengths: tuple[int, int],
        seed: Sequence[int],
        workers: int,
        rank: int,
        world: int,
    ) -> Iterator[Crops]:
        """Yield an epoch of ``crops``, in batches.

        All crops of a batch have one length, drawn between the two ``lengths`` (samples) on a logarithmic scale, since
        it is the short ones that are hard. The same seed gives the same epoch. Each of ``world`` processes prepares its
        own share of every batch, two batches ahead, in child processes: in threads, the interpreter's lock would let
        the network wait for the codecs between any two of its operations. They are forked once, before the network's
        memory has grown: each fork keeps what its parent held.
        """
        share = max(1, batch_size // world)
        if self._pool is None:
            self._pool = children.pool(workers, _take, self)
        pool = self._pool
        ahead: deque[list[Future[Drawn]]] = deque()
        try:
            for start in range(0, max(1, crops // batch_size) * batch_size, batch_size):
                numbers = range(start + rank * share, start + (rank + 1) * share)
                drawn = np.random.default_rng([*seed, start, 2]).uniform(*np.log(lengths))
                length = round(float(np.exp(drawn)))
                ahead.append([pool.submit(_draw, length, seed, number) for number in numbers])
                if len(ahead) > 2:
                    yield _batch(ahead.popleft())
            while ahead:
                yield _batch(ahead.popleft())
        finally:
            for future in itertools.chain(*ahead):
                future.cancel()

    def draw(self, length: int, seed: Sequence[int], number: int) -> Drawn:
        """Draw the crop ``number`` of an epoch, ``length`` samples long. The same arguments give the same crop."""
        shared = np.random.default_rng([*seed, number // self.crops_a_speaker, 0])
        speaker = int(shared.choice(self.speakers, p=self.share))
        changed = len(self.versions) > 1 and shared.random() < self.speed_probability
        version = int(shared.integers(1, len(self.versions))) if changed else 0
        random = np.random.default_rng([*seed, number, 1])
        pieces: list[np.ndarray] = []
        parts: list[tuple[int, int]] = []  # clip, samples
        missing = length
        while missing > 0:
            row = int(random.choice(self.rows[speaker], p=self.lengths[speaker]))
            samples = self.versions[version][row]
            start = int(random.integers(max(1, len(samples) - missing + 1)))
            pieces.append(samples[start : start + missing])
            parts.append((row, len(pieces[-1])))
            missing -= len(pieces[-1])
        crop = np.concatenate(pieces).astype(np.float32) / 32768
        crop = np.clip(np.round(self.corrupt(crop, random) * 32768), -32768, 32767).astype(np.int16)
        lesson = None
        if self.lessons is not None:
            lesson = self.lessons.target(parts, speaker, version, self.speaker_lesson_share)
        return crop, speaker + version * self.speakers, lesson


_source: BalancedCrops | None = None  # in a child process: what it inherited when it was forked


def _take(source: BalancedCrops) -> None:
    global _source
    _source = source


def _draw(length: int, seed: Sequence[int], number: int) -> Drawn:
    assert _source is not None
    return _source.draw(length, seed, number)


def _batch(drawn: list[Future[Drawn]]) -> Crops:
    crops, labels, lessons = zip(*(future.result() for future in drawn), strict=True)
    return np.stack(crops), np.array(labels), None if lessons[0] is None else np.stack(lessons)


def batches_an_epoch(clips: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches ``epoch_batches`` yields. A set smaller than a batch is one batch even with drop_last."""
    return max(1, clips // batch_size if drop_last else -(-clips // batch_size))
