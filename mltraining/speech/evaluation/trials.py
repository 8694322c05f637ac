"""Verification trials: read them from tables, and score them under a pipeline.

An enrollment table says which recordings each speaker enrolls with, a trial table which recording claims to be which
speaker. docs/speech-format.md describes both.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.audio.quality import Quality
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.scoring.quality_measures import QualityMeasures
from mltraining.speech.scoring.voiceprints import EmbeddedClip, Voiceprint

Progress = Callable[[int, int], None]  # done, total

# The files of a speech folder, the option that names each of them alone, and that option's help.
SPEECH_FOLDER = {
    "enrollment": ("enrollment.csv", "table with columns speaker, audio"),
    "trials": ("trials.csv", "table with columns speaker, audio, target (1 or 0)"),
    "audio_root": ("audio", "folder that the audio in the tables is relative to"),
    "clips": ("clips.parquet", "table with columns speaker, gender, age, for figures by group"),
    "noise": ("noise", "folder of noise recordings; without it there is no condition with noise"),
}
OPTIONAL = {"clips", "noise"}


def silent(done: int, total: int) -> None:
    """Ignore progress."""


class EvaluationError(ValueError):
    """The trials cannot be read or evaluated. ``code`` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def read_table(path: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV or Parquet table, every value as text, and check that it has ``columns``.

    Paths in a column ``audio`` stay below the folder that they are relative to. Raises EvaluationError
    ``unreadable_table``, ``missing_column`` and ``unsafe_path``.
    """
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        else:
            table = pd.read_parquet(path).astype(str)
    except (OSError, ValueError) as error:
        raise EvaluationError("unreadable_table", f"{path} cannot be read: {error}") from error
    if missing := [column for column in columns if column not in table.columns]:
        raise EvaluationError("missing_column", f"{path.name} lacks the column {', '.join(missing)}")
    for audio in table["audio"] if "audio" in columns else ():
        if Path(audio).is_absolute() or ".." in Path(audio).parts:
            raise EvaluationError("unsafe_path", f"{path.name}: {audio!r} must be relative, without '..'")
    return table


def are_targets(table: pd.DataFrame) -> np.ndarray:
    """Return the column ``target`` as (n,) bool. Raises EvaluationError ``invalid_target`` for other than 1 and 0."""
    target = table["target"].astype(str).str.strip()
    if unknown := sorted(set(target) - {"0", "1"}):
        raise EvaluationError("invalid_target", f"target is 1 or 0, not {unknown[0]!r}")
    return (target == "1").to_numpy()


@dataclass(frozen=True, eq=False)
class TrialList:
    """Who enrolls with which recordings, and which recordings claim to be whom.

    ``enrollment`` has the columns speaker, audio; ``trials`` has speaker (the claimed one), audio and, where the truth
    is known, target. Audio is relative to ``audio_root``.
    """

    enrollment: pd.DataFrame
    trials: pd.DataFrame
    audio_root: Path

    @classmethod
    def read(cls, enrollment: Path, trials: Path, audio_root: Path, *, labelled: bool = True) -> "TrialList":
        """Read both tables; ``labelled`` trials need the column target. Raises EvaluationError, see ``read_table``."""
        tried = read_table(trials, "speaker", "audio", *(["target"] if labelled else []))
        if labelled:
            are_targets(tried)
        return cls(read_table(enrollment, "speaker", "audio"), tried, Path(audio_root))

    @property
    def is_target(self) -> np.ndarray:
        """Whether each trial is of the same speaker: (n,) bool."""
        return are_targets(self.trials)

    def owners(self) -> dict[str, str]:
        """Return who speaks in each recording that has a target trial, by its audio."""
        genuine = self.trials[self.is_target]
        return dict(zip(genuine["audio"], genuine["speaker"], strict=True))


@dataclass(frozen=True)
class ScoredTrial:
    """A trial that was scored. ``quality`` is the test clip's."""

    score: float
    probability: float
    quality: Quality
    enrollment_speech_seconds: float


@dataclass(frozen=True)
class UnscoredTrial:
    """A trial without a score. ``code`` is the audio's error, ``missing_audio``, or ``speaker_not_enrolled``."""

    code: str


@dataclass(frozen=True, eq=False)
class ScoredTrials:
    """Scored trials of a known truth: arrays (n,), those in ``measures`` as well.

    ``speakers`` are the claimed ones, ``test_speakers`` those who speak. ``left_out`` trials had no score.
    """

    scores: np.ndarray
    is_target: np.ndarray
    measures: QualityMeasures
    speakers: np.ndarray
    test_speakers: np.ndarray
    left_out: int = 0

    def take(self, rows: np.ndarray) -> "ScoredTrials":
        """Return some of the trials. ``rows`` are indices or a mask."""
        arrays = (self.scores[rows], self.is_target[rows], self.measures.take(rows))
        return ScoredTrials(*arrays, self.speakers[rows], self.test_speakers[rows], self.left_out)

    @classmethod
    def joined(cls, parts: Sequence["ScoredTrials"]) -> "ScoredTrials":
        """Return the trials of all ``parts``, one after the other."""

        def together(arrays: Iterable[float | np.ndarray]) -> np.ndarray:
            return np.concatenate([np.asarray(each) for each in arrays])

        return cls(
            together(each.scores for each in parts),
            together(each.is_target for each in parts),
            QualityMeasures(
                together(each.measures.test_speech_seconds for each in parts),
                together(each.measures.enrollment_speech_seconds for each in parts),
                together(each.measures.snr_db for each in parts),
            ),
            together(each.speakers for each in parts),
            together(each.test_speakers for each in parts),
            sum(each.left_out for each in parts),
        )


def score_trials(
    pipeline: ScoringPipeline, given: TrialList, progress: Progress = silent
) -> list[ScoredTrial | UnscoredTrial]:
    """Score every trial, in order. Each recording is decoded and embedded once; only embeddings stay in memory.

    ``progress`` counts recordings.
    """
    wanted = pd.unique(pd.concat([given.enrollment["audio"], given.trials["audio"]], ignore_index=True))
    clips: dict[str, EmbeddedClip | UnscoredTrial] = {}
    for number, audio in enumerate(wanted, start=1):
        clips[audio] = _embed(pipeline, given.audio_root / audio)
        progress(number, len(wanted))

    enrolled: dict[str, Voiceprint] = {}
    for speaker, rows in given.enrollment.groupby("speaker", sort=False):
        decoded = [clip for clip in map(clips.__getitem__, rows["audio"]) if isinstance(clip, EmbeddedClip)]
        if any(clip.quality.speech_seconds for clip in decoded):
            enrolled[str(speaker)] = Voiceprint.of(decoded)
    results: list[ScoredTrial | UnscoredTrial] = [UnscoredTrial("speaker_not_enrolled")] * len(given.trials)
    speakers = given.trials["speaker"].to_numpy()
    for audio, places in given.trials.groupby("audio", sort=False).indices.items():
        clip = clips[str(audio)]
        if isinstance(clip, UnscoredTrial):
            for place in places:
                results[place] = clip
            continue
        known = [(int(place), enrolled[speakers[place]]) for place in places if speakers[place] in enrolled]
        if not known:
            continue
        vectors = np.stack([each.vector for _, each in known])
        seconds = np.array([each.speech_seconds for _, each in known])
        compared = pipeline.compare(clip.embedding, clip.quality, vectors, seconds)
        for (place, each), score, probability in zip(known, compared.score, compared.probability, strict=True):
            results[place] = ScoredTrial(float(score), float(probability), clip.quality, each.speech_seconds)
    return results


def score_labelled_trials(pipeline: ScoringPipeline, given: TrialList, progress: Progress = silent) -> ScoredTrials:
    """Score trials of a known truth, as arrays. A trial without a score, or without speech, is left out.

    A recording without a target trial counts as spoken by whom it claims to be.
    """
    owners, is_target = given.owners(), given.is_target
    scored = [
        (row, each)
        for row, each in enumerate(score_trials(pipeline, given, progress))
        if isinstance(each, ScoredTrial) and each.quality.speech_seconds > 0
    ]
    rows = np.array([row for row, _ in scored], dtype=int)
    speakers = given.trials["speaker"].to_numpy(dtype=object)[rows]
    audio = given.trials["audio"].to_numpy(dtype=object)[rows]
    return ScoredTrials(
        scores=np.array([each.score for _, each in scored]),
        is_target=is_target[rows],
        measures=QualityMeasures(
            np.array([each.quality.speech_seconds for _, each in scored]),
            np.array([each.enrollment_speech_seconds for _, each in scored]),
            np.array([each.quality.snr_db for _, each in scored]),
        ),
        speakers=speakers,
        test_speakers=np.array([owners.get(*pair) for pair in zip(audio, speakers, strict=True)], dtype=object),
        left_out=len(given.trials) - len(rows),
    )


def _embed(pipeline: ScoringPipeline, path: Path) -> EmbeddedClip | UnscoredTrial:
    try:
        waveform = decode(path.read_bytes())
    except AudioError as error:
        return UnscoredTrial(error.code)
    except OSError:
        return UnscoredTrial("missing_audio")
    return EmbeddedClip(pipeline.embed(waveform), quality.measure(waveform))


def add_speech_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add ``--speech`` for a speech folder, and an option for each of its parts that ``names`` names."""
    parser.add_argument("--speech", type=Path, help="speech folder, see docs/speech-format.md; or name its parts:")
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, help=SPEECH_FOLDER[name][1])


def take_from_speech_folder(options: argparse.Namespace, *names: str) -> None:
    """Fill in the ``names`` that were not given from the folder ``--speech``.

    Raises EvaluationError ``missing_option`` for one that is neither given nor optional.
    """
    for name in names:
        if getattr(options, name) is None and options.speech is not None:
            path = options.speech / SPEECH_FOLDER[name][0]
            setattr(options, name, path if name not in OPTIONAL or path.exists() else None)
        if getattr(options, name) is None and name not in OPTIONAL:
            raise EvaluationError("missing_option", f"give --speech, or --{name.replace('_', '-')}")
