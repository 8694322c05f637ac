"""The teachers' embeddings of the training clips: computed once, kept in a file, and made into lessons.

The file stands beside the training table (``train.pq`` -> ``train.teachers.parquet``) and can be carried, with it, to a
machine that lacks the teachers. One row for each teacher, speed and clip; a row without ``audio`` is of all clips of
the speaker together:

    teacher (fingerprint), speed, speaker, audio, vector (float16, unit length)
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.audio import decoding, quality
from mltraining.speech.audio.waveform import Waveform, resample
from mltraining.speech.config import Config, ConfigError
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.training import sealed, teaching
from mltraining.speech.training.dataset import MAX_CLIP_SECONDS, Clips
from mltraining.speech.training.manifest import DataError, Manifest
from mltraining.speech.training.teaching import Lessons

logger = logging.getLogger(__name__)

COLUMNS = ["teacher", "speed", "speaker", "audio", "vector"]
SPEAKER_SECONDS = 60.0  # of a speaker's speech that are embedded together at most


def lessons(config: Config, manifest: Manifest, clips: Clips, on_share: Callable[[float], None]) -> Lessons:
    """Return the targets of all clips and speakers. What is missing in the file is computed and added to it.

    ``on_share`` gets the share that is done. Raises ConfigError for a teacher that is no pipeline, and DataError
    ``missing_lessons`` where the teachers are not at hand and the file does not cover the clips.
    """
    speeds = (1.0, *config.augmentation.speeds)
    file = file_of(config)
    table = pd.read_parquet(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    names = _teachers(config, table)
    for number, (fingerprint, folder) in enumerate(names.items()):
        for place, speed in enumerate(speeds):
            known = table[(table["teacher"] == fingerprint) & (table["speed"] == speed)]
            if not _missing(manifest, known):
                continue
            if folder is None:
                raise DataError("missing_lessons", f"{file} does not cover these clips at the speed {speed:g}")
            parts, done = len(names) * len(speeds), number * len(speeds) + place
            rows = []
            for share, row in _embedded(folder, manifest, speed):
                rows.append({"teacher": fingerprint, "speed": speed} | row)
                on_share((done + share) / parts)
            table = pd.concat([table.drop(index=known.index), pd.DataFrame(rows)], ignore_index=True)
            _write(table, file)
    by_teacher = [_vectors(table[table["teacher"] == fingerprint], manifest, speeds) for fingerprint in names]
    return _reduced(by_teacher, manifest, clips, config.architecture.embedding_dimensions)


def file_of(config: Config) -> Path:
    """Return where the teachers' embeddings are kept."""
    table = Path(config.dataset.train_dataframe)
    if not table.is_file():
        table = Path(config.dataset.data_folder) / table
    return table.with_suffix(".teachers.parquet")


def _teachers(config: Config, table: pd.DataFrame) -> dict[str, Path | None]:
    """Fingerprint and folder of each teacher; without the folders, those that the file holds."""
    folders = [Path(folder) for folder in config.training.teachers]
    if not any(folder.is_dir() for folder in folders):
        found: dict[str, Path | None] = dict.fromkeys(table["teacher"].unique())
        if len(found) != len(folders):
            raise ConfigError(f"training.teachers: {', '.join(map(str, folders))} are not there, and nor is their file")
        return found
    try:
        return {ScoringPipeline.load(folder).fingerprint: folder for folder in folders}
    except PipelineError as error:
        raise ConfigError(f"training.teachers: {error}") from error


def _missing(manifest: Manifest, known: pd.DataFrame) -> bool:
    speakers = set(known.loc[known["audio"].isna(), "speaker"])
    return bool(set(manifest.clips["audio"]) - set(known["audio"].dropna()) or set(manifest.classes) - speakers)


def _embedded(folder: Path, manifest: Manifest, speed: float) -> Iterator[tuple[float, dict[str, object]]]:
    """Rows of one teacher at one speed, by speaker, and the share of the speakers that is done."""
    teacher = ScoringPipeline.load(folder)
    for label, speaker in enumerate(manifest.classes):
        voices: list[Waveform] = []
        for audio in manifest.clips["audio"].to_numpy()[manifest.labels == label]:
            data = sealed.read(manifest.data_folder, audio)
            voices.append(_at_speed(decoding.decode(data, max_seconds=MAX_CLIP_SECONDS), speed))
            vector = teacher.embed(voices[-1]).astype(np.float16)
            yield label / len(manifest.classes), {"speaker": speaker, "audio": audio, "vector": vector}
        together = teacher.embed(_joined(voices)).astype(np.float16)
        yield (label + 1) / len(manifest.classes), {"speaker": speaker, "audio": None, "vector": together}


def _at_speed(waveform: Waveform, speed: float) -> Waveform:
    if speed == 1:
        return waveform
    samples = resample(waveform.samples, round(1000 * speed), 1000)
    return Waveform(samples=samples, sample_rate=waveform.sample_rate, codec=waveform.codec)


def _joined(voices: list[Waveform]) -> Waveform:
    """The speech of several clips in a row, at the highest of their rates."""
    rate = max(voice.sample_rate for voice in voices)
    spoken = [quality.speech_only(voice) for voice in voices]
    samples = np.concatenate([resample(voice.samples, voice.sample_rate, rate) for voice in spoken])
    return Waveform(samples=samples[: round(SPEAKER_SECONDS * rate)], sample_rate=rate, codec=voices[0].codec)


def _vectors(table: pd.DataFrame, manifest: Manifest, speeds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One teacher's: (speeds, clips, d) and (speeds, speakers, d), float32."""

    def of(rows: pd.DataFrame, column: str, names: list[str]) -> np.ndarray:
        found = dict(zip(rows[column], rows["vector"], strict=True))
        return np.stack([np.asarray(found[name], dtype=np.float32) for name in names])

    at = [table[table["speed"] == speed] for speed in speeds]
    clips = [of(rows[rows["audio"].notna()], "audio", list(manifest.clips["audio"])) for rows in at]
    speakers = [of(rows[rows["audio"].isna()], "speaker", manifest.classes) for rows in at]
    return np.stack(clips), np.stack(speakers)


def _reduced(
    teachers: list[tuple[np.ndarray, np.ndarray]], manifest: Manifest, clips: Clips, dimensions: int
) -> Lessons:
    """Centre each teacher on the training clips, join them, and keep the axes that carry most of what they say."""
    centres = [of_clips[0, manifest.train].mean(axis=0) for of_clips, _ in teachers]
    joined_clips = teaching.joined([of_clips for of_clips, _ in teachers], centres)
    joined_speakers = teaching.joined([of_speakers for _, of_speakers in teachers], centres)
    axes = teaching.principal_axes(np.concatenate([joined_clips[0, manifest.train], joined_speakers[0]]), dimensions)
    return Lessons(teaching.unit(joined_clips @ axes), teaching.unit(joined_speakers @ axes), clips.seconds)


def _write(table: pd.DataFrame, file: Path) -> None:
    draft = file.with_name(f".{file.name}")
    table.to_parquet(draft, index=False)
    os.replace(draft, file)
