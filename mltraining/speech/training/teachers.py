"""The teachers' embeddings of the training clips: computed once, kept in a file, and made into lessons.

The file stands beside the training table (``train.pq`` -> ``train.teachers.parquet``) and can be carried, with it, to a
machine that lacks the teachers. One row for each teacher, speed and clip; a row without ``audio`` is of all clips of
the speaker together:

    teacher (fingerprint), speed, speaker, audio, rate (Hz, as recorded), vector (float16, unit length)

Clips that are too short to count as lessons have no row.
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
from mltraining.speech.training import children, sealed, teaching
from mltraining.speech.training.dataset import MAX_CLIP_SECONDS, Clips
from mltraining.speech.training.manifest import DataError, Manifest
from mltraining.speech.training.teaching import Lessons

logger = logging.getLogger(__name__)

COLUMNS = ["teacher", "speed", "speaker", "audio", "rate", "vector"]
SPEAKER_SECONDS = 15.0  # of a speaker's speech that are embedded together at most
WIDE_BAND = 16_000  # Hz; recordings below it lack what teachers of wide-band speech listen for


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
            if not _missing(manifest, clips, known):
                continue
            if folder is None:
                raise DataError("missing_lessons", f"{file} does not cover these clips at the speed {speed:g}")
            parts, done = len(names) * len(speeds), number * len(speeds) + place
            rows = []
            for share, some in _embedded(folder, manifest, clips, speed, config.environment.number_of_workers):
                rows += [{"teacher": fingerprint, "speed": speed} | row for row in some]
                on_share((done + share) / parts)
            table = pd.concat([table.drop(index=known.index), pd.DataFrame(rows)], ignore_index=True)
            _write(table, file)
    by_teacher = [_vectors(table[table["teacher"] == fingerprint], manifest, speeds) for fingerprint in names]
    return _joined_lessons(by_teacher, clips, config.architecture.embedding_dimensions)


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


def _missing(manifest: Manifest, clips: Clips, known: pd.DataFrame) -> bool:
    speakers = set(known.loc[known["audio"].isna(), "speaker"])
    needed = set(manifest.clips["audio"].to_numpy()[clips.seconds >= teaching.SHORTEST_CLIP])
    return bool(needed - set(known["audio"].dropna()) or set(manifest.classes) - speakers)


def _embedded(
    folder: Path, manifest: Manifest, clips: Clips, speed: float, workers: int
) -> Iterator[tuple[float, list[dict[str, object]]]]:
    """Rows of one teacher at one speed, speaker by speaker, and the share of the speakers that is done."""
    with children.pool(workers, _take, folder, manifest, clips, speed) as pool:
        for done, rows in enumerate(pool.map(_of_speaker, range(len(manifest.classes)), chunksize=4), start=1):
            yield done / len(manifest.classes), rows


_source: tuple[ScoringPipeline, Manifest, Clips, float] | None = None  # in a child process


def _take(folder: Path, manifest: Manifest, clips: Clips, speed: float) -> None:
    global _source
    _source = (ScoringPipeline.load(folder), manifest, clips, speed)


def _of_speaker(label: int) -> list[dict[str, object]]:
    """Embed a speaker's clips that are long enough, and the speech of all of them together."""
    assert _source is not None
    teacher, manifest, clips, speed = _source
    rows, voices = [], []
    for row in np.flatnonzero(manifest.labels == label):
        audio = manifest.clips["audio"].iloc[row]
        voices.append(decoding.decode(sealed.read(manifest.data_folder, audio), max_seconds=MAX_CLIP_SECONDS))
        if clips.seconds[row] >= teaching.SHORTEST_CLIP:
            vector = teacher.embed(_at_speed(voices[-1], speed))
            rows.append({"audio": audio, "rate": voices[-1].sample_rate, "vector": vector})
    together = teacher.embed(_at_speed(_joined(voices), speed))
    rows.append({"audio": None, "rate": min(voice.sample_rate for voice in voices), "vector": together})
    speaker = {"speaker": manifest.classes[label]}
    return [speaker | row | {"vector": row["vector"].astype(np.float16)} for row in rows]


def _at_speed(waveform: Waveform, speed: float) -> Waveform:
    if speed == 1:
        return waveform
    samples = resample(waveform.samples, round(1000 * speed), 1000)
    return Waveform(samples=samples, sample_rate=waveform.sample_rate, codec=waveform.codec)


def _joined(voices: list[Waveform]) -> Waveform:
    """The speech of several clips in a row, at the highest of their rates."""
    rate = max(voice.sample_rate for voice in voices)
    spoken = []
    for voice in voices:
        spoken.append(resample(quality.speech_only(voice).samples, voice.sample_rate, rate))
        if sum(map(len, spoken)) >= SPEAKER_SECONDS * rate:
            break
    samples = np.concatenate(spoken)[: round(SPEAKER_SECONDS * rate)]
    return Waveform(samples=samples, sample_rate=rate, codec=voices[0].codec)


def _vectors(table: pd.DataFrame, manifest: Manifest, speeds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One teacher's (speeds, clips, d) and (speeds, speakers, d), float32, centred. Clips without a row have zeros.

    Narrow-band recordings have a centre of their own: to an encoder of wide-band speech, the missing band weighs more
    than the voice, and it is the voice that is to be learnt.
    """
    vectors = np.stack(table["vector"].to_numpy()).astype(np.float32)
    narrow = (table["rate"] < WIDE_BAND).to_numpy()
    counts = (table["speed"] == 1).to_numpy() & table["audio"].isin(manifest.clips["audio"][manifest.train]).to_numpy()
    for band in (narrow, ~narrow):
        if (band & counts).any():
            vectors[band] -= vectors[band & counts].mean(axis=0)

    def of(rows: np.ndarray, column: str, names: list[str]) -> np.ndarray:
        found = dict(zip(table[column].to_numpy()[rows], vectors[rows], strict=True))
        none = np.zeros(vectors.shape[1], dtype=np.float32)
        return np.stack([found.get(name, none) for name in names])

    at = [(table["speed"] == speed).to_numpy() for speed in speeds]
    one_clip = table["audio"].notna().to_numpy()
    clips = [of(rows & one_clip, "audio", list(manifest.clips["audio"])) for rows in at]
    speakers = [of(rows & ~one_clip, "speaker", manifest.classes) for rows in at]
    return np.stack(clips), np.stack(speakers)


def _joined_lessons(teachers: list[tuple[np.ndarray, np.ndarray]], clips: Clips, dimensions: int) -> Lessons:
    of_clips, of_speakers = (teaching.joined(each) for each in zip(*teachers, strict=True))
    if of_clips.shape[2] != dimensions:
        raise ConfigError(
            f"architecture.embedding_dimensions: must be {of_clips.shape[2]}, as the teachers have together"
        )
    return Lessons(of_clips, of_speakers, clips.seconds)


def _write(table: pd.DataFrame, file: Path) -> None:
    draft = file.with_name(f".{file.name}")
    table.to_parquet(draft, index=False)
    os.replace(draft, file)
