"""Manifests: which clip is whose, and which clips are held out."""

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from mltraining.speech.config import Config, Dataset

logger = logging.getLogger(__name__)

MIN_TRAINING_CLIPS = 4
GENERATED_FOLDS = 5  # for kfold where the frame has no fold column


class DataError(ValueError):
    """The data cannot be trained on. ``code`` is stable; ``data`` names the clips or classes concerned."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True)
class Manifest:
    """The clips of a run. Columns: audio (path below the data folder), label (class index), fold, train, validation."""

    clips: pd.DataFrame
    classes: list[str]
    data_folder: Path

    @property
    def train(self) -> np.ndarray:
        """Indices of the rows that are trained on."""
        return np.flatnonzero(self.clips["train"].to_numpy())

    @property
    def validation(self) -> np.ndarray:
        """Indices of the rows that are held out (or, with train_validation_data, only evaluated)."""
        return np.flatnonzero(self.clips["validation"].to_numpy())

    @property
    def labels(self) -> np.ndarray:
        """(clips,) class indices"""
        return self.clips["label"].to_numpy(dtype=np.int64)

    def without(self, rows: set[int]) -> "Manifest":
        """Return the manifest without the given rows. Raises DataError if too little is left."""
        kept = self.clips.drop(index=list(rows)).reset_index(drop=True)
        names = [self.classes[index] for index in kept["label"]]
        return _checked(kept.assign(**{"class": names}).drop(columns="label"), self.data_folder)


def read(config: Config, *, seed: int) -> Manifest:
    """Read the tables that the configuration names and split them.

    Raises DataError: dataframe_not_found, unreadable_dataframe, missing_column, missing_values, unsafe_path,
    conflicting_labels, unknown_fold, unknown_class, too_few_speakers, too_few_clips, no_validation_clips,
    missing_audio.
    """
    dataset = config.dataset
    folder = Path(dataset.data_folder)
    frame, folds = _read_frame(dataset, dataset.train_dataframe)
    random = np.random.default_rng([seed, 1])
    match dataset.validation_strategy:
        case "custom":
            assert dataset.validation_dataframe is not None  # held by the configuration's own check
            other, _ = _read_frame(dataset, dataset.validation_dataframe)
            strange = sorted(set(other["class"]) - set(frame["class"]))
            if strange:
                raise DataError(
                    "unknown_class", f"the validation table has speakers that are not trained on: {_some(strange)}"
                )
            frame["fold"], other["fold"] = "train", "validation"
            frame = pd.concat([frame, other], ignore_index=True)
            held_out = (frame["fold"] == "validation").to_numpy()
        case "kfold" if folds is not None:
            frame["fold"] = folds
            absent = sorted(set(dataset.folds) - set(folds))
            if absent:
                raise DataError("unknown_fold", f"dataset.folds: the table has no fold {_some(absent)}")
            held_out = folds.isin(dataset.folds).to_numpy()
        case "kfold":
            rank, _ = _ranks(frame, random)
            frame["fold"] = (rank % GENERATED_FOLDS).astype(str)
            held_out = frame["fold"].isin(dataset.folds).to_numpy()
        case _:
            rank, position = _ranks(frame, random)
            held_out = position < dataset.validation_size
            if not held_out.any():  # few clips a speaker: hold out one of each rather than none
                held_out = rank == 0
            frame["fold"] = np.where(held_out, "validation", "train")
    if dataset.validation_strategy != "custom":
        held_out = _train_on_the_unseen(frame, held_out)
    frame["validation"] = held_out
    frame = _sample(frame, dataset, random)
    frame["train"] = True if config.training.train_validation_data else ~frame["validation"]
    if config.training.train_validation_data:
        logger.warning(
            "training.train_validation_data: the validation clips are trained on, so their metrics are too good"
        )
    missing = [name for name in frame["audio"] if not (folder / name).is_file()]
    if missing:
        message = f"{len(missing)} clips are missing from the data folder: {_some(missing)}"
        raise DataError("missing_audio", message, clips=missing)
    return _checked(frame, folder)


def _read_frame(dataset: Dataset, name: str) -> tuple[pd.DataFrame, pd.Series | None]:
    """Return the table as (audio, class, group), and its folds as text if it has any."""
    path = Path(name)
    if not path.is_file():
        path = Path(dataset.data_folder) / name
    if not path.is_file():
        raise DataError("dataframe_not_found", f"{name} is not a file, and not one in the data folder either")
    try:
        raw = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's and pandas' own errors are ValueErrors
        raise DataError("unreadable_dataframe", f"{name} cannot be read as a parquet or CSV table: {error}") from error
    if dataset.filter_column is not None:
        if dataset.filter_column not in raw.columns:
            raise DataError("missing_column", f"{name} has no column {dataset.filter_column!r}")
        raw = raw[raw[dataset.filter_column].astype(str) == dataset.filter_value]
    raw = raw.reset_index(drop=True)
    label_column = dataset.label_columns[0]
    for column in (dataset.audio_column, label_column):
        if column not in raw.columns:
            raise DataError(
                "missing_column", f"{name} has no column {column!r}; it has {', '.join(map(str, raw.columns))}"
            )
        if raw[column].isna().any():
            raise DataError("missing_values", f"{name}: column {column!r} has empty cells")
    frame = pd.DataFrame({"audio": raw[dataset.audio_column].astype(str), "class": raw[label_column].astype(str)})
    unsafe = [name for name in frame["audio"] if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if unsafe:
        raise DataError("unsafe_path", f"audio paths must stay below the data folder: {_some(unsafe)}", clips=unsafe)
    frame["group"] = _groups(raw, dataset)
    frame = frame.drop_duplicates(["audio", "class"])
    twice = sorted(frame["audio"][frame["audio"].duplicated()])
    if twice:
        raise DataError("conflicting_labels", f"clips with two speakers: {_some(twice)}", clips=twice)
    folds = raw[dataset.fold_column].loc[frame.index] if dataset.fold_column in raw.columns else None
    if folds is not None:
        if folds.isna().any():
            raise DataError("missing_values", f"{name}: column {dataset.fold_column!r} has empty cells")
        folds = folds.astype(str).reset_index(drop=True)
    return frame.reset_index(drop=True), folds


def _groups(raw: pd.DataFrame, dataset: Dataset) -> pd.Series:
    column = dataset.group_fold_column
    if column is None or column == dataset.audio_column:
        return raw[dataset.audio_column].astype(str)
    if column not in raw.columns:
        logger.warning("dataset.group_fold_column: the table has no column %r; splitting by clip", column)
        return raw[dataset.audio_column].astype(str)
    return raw[column].astype(str)


def _ranks(frame: pd.DataFrame, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each clip's group among its speaker's shuffled groups: (clips,) 0, 1, … and within (0, 1)."""
    groups = sorted(set(frame["group"]))
    drawn = dict(zip(groups, random.permutation(len(groups)), strict=True))
    owner = frame.groupby("group")["class"].min()  # a group that speakers share counts for the first
    place: dict[str, tuple[int, float]] = {}
    for _, own in owner.groupby(owner):
        for rank, group in enumerate(sorted(own.index, key=drawn.__getitem__)):
            place[group] = rank, (rank + 0.5) / len(own)
    places = [place[group] for group in frame["group"]]
    return np.array([rank for rank, _ in places]), np.array([position for _, position in places])


def _train_on_the_unseen(frame: pd.DataFrame, held_out: np.ndarray) -> np.ndarray:
    """Train on speakers whose every clip would be held out. They could be neither learnt nor recognised otherwise."""
    trained = set(frame["class"][~held_out])
    unseen = ~frame["class"].isin(trained).to_numpy()
    if unseen.any():
        logger.warning(
            "%d speakers have clips in the held-out part only, and are trained on instead",
            frame["class"][unseen].nunique(),
        )
        return held_out & ~unseen
    return held_out


def _sample(frame: pd.DataFrame, dataset: Dataset, random: np.random.Generator) -> pd.DataFrame:
    """Keep ``data_sample`` of each class, at least one clip, in the parts that ``data_sample_choice`` names."""
    if dataset.data_sample == 1:
        return frame
    order = random.random(len(frame))
    keep = np.ones(len(frame), dtype=bool)
    for part, inside in (("Train", ~frame["validation"]), ("Validation", frame["validation"])):
        if part in dataset.data_sample_choice:
            for _, rows in frame[inside].groupby("class"):
                positions = rows.index.to_numpy()
                count = max(1, round(dataset.data_sample * len(positions)))
                keep[positions[np.argsort(order[positions])[count:]]] = False
    return frame[keep].reset_index(drop=True)


def _checked(frame: pd.DataFrame, folder: Path) -> Manifest:
    trained = frame[frame["train"]]
    classes = sorted(set(trained["class"]))
    if len(classes) < 2:
        raise DataError("too_few_speakers", f"clips of at least 2 speakers are needed; there are {len(classes)}")
    frame = frame[frame["class"].isin(classes)].reset_index(drop=True)
    if not frame["validation"].any():
        raise DataError(
            "no_validation_clips", "no clip is held out. Hold some out, so that the run can be measured and calibrated."
        )
    if len(trained) < MIN_TRAINING_CLIPS:
        raise DataError("too_few_clips", f"{len(trained)} training clips are too few; {MIN_TRAINING_CLIPS} are needed")
    index = {name: number for number, name in enumerate(classes)}
    clips = frame.assign(label=frame["class"].map(index).astype(np.int64)).drop(columns="class")
    return Manifest(clips=clips, classes=classes, data_folder=folder)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
