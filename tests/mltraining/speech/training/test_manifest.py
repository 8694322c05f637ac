from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_django import Settings

from mltraining.speech.config import Config
from mltraining.speech.training import manifest
from mltraining.speech.training.manifest import DataError, Manifest

Read = Callable[..., Manifest]


def frame(speakers: int = 4, clips: int = 5, **columns: Any) -> pd.DataFrame:
    rows = [(f"s{speaker}/{clip}.wav", f"s{speaker}", clip) for speaker in range(speakers) for clip in range(clips)]
    return pd.DataFrame(rows, columns=["audio", "class", "fold"]).assign(**columns)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes the frame and its (empty) files, and reads it with the given dataset settings."""

    def read(
        table: pd.DataFrame,
        *,
        files: bool = True,
        training: dict[str, Any] | None = None,
        seed: int = 1,
        **settings: Settings,
    ) -> Manifest:
        for name in table.get("audio", []) if files else []:
            if isinstance(name, str) and not name.startswith(("/", "..")):
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).touch()
        table.to_parquet(tmp_path / "train.pq")
        config = Config().with_values(dataset={"data_folder": str(tmp_path)} | settings, training=training or {})
        return manifest.read(config, seed=seed)

    return read


def audio(split: Manifest, rows: np.ndarray) -> set[str]:
    return set(split.clips["audio"].iloc[rows])


def test_the_named_folds_are_held_out_whether_text_or_number(read: Read) -> None:
    for table in (frame(), frame().astype({"fold": str})):
        split = read(table, folds=["0", "3"])
        assert audio(split, split.validation) == {f"s{speaker}/{clip}.wav" for speaker in range(4) for clip in (0, 3)}
        assert len(split.train) == 12
        assert split.classes == ["s0", "s1", "s2", "s3"]
        assert split.labels.tolist() == sorted(split.labels.tolist())


def test_a_fold_that_is_not_there_is_refused(read: Read) -> None:
    with pytest.raises(DataError) as error:
        read(frame(), folds=["7"])
    assert error.value.code == "unknown_fold"


def test_without_a_fold_column_every_speaker_is_spread_over_five_folds(read: Read) -> None:
    split = read(frame(clips=10).drop(columns="fold"))
    assert len(split.validation) == 4 * 2
    assert split.clips.groupby("label")["fold"].nunique().tolist() == [5] * 4


def test_groups_stay_together(read: Read) -> None:
    table = frame(clips=10).drop(columns="fold")
    table["session"] = table["class"] + "-" + (table.groupby("class").cumcount() // 2).astype(str)
    for strategy in ("kfold", "automatic"):
        split = read(table, group_fold_column="session", validation_strategy=strategy)
        sessions = table.set_index("audio")["session"]
        held_out = {sessions[name] for name in audio(split, split.validation)}
        assert held_out and not held_out & {sessions[name] for name in audio(split, split.train)}


def test_a_group_column_that_is_absent_splits_by_clip_with_a_warning(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read(frame().drop(columns="fold"), group_fold_column="session").validation) == 4
    assert "dataset.group_fold_column" in caplog.text


def test_automatic_holds_out_its_share_of_every_speaker_and_follows_the_seed(read: Read) -> None:
    table = frame(clips=20)
    split = read(table, validation_strategy="automatic", validation_size=0.25)
    assert np.bincount(split.labels[split.validation]).tolist() == [5] * 4
    again = read(table, validation_strategy="automatic", validation_size=0.25)
    other = read(table, validation_strategy="automatic", validation_size=0.25, seed=2)
    assert audio(again, again.validation) == audio(split, split.validation) != audio(other, other.validation)


def test_custom_takes_the_validation_frame(read: Read, tmp_path: Path) -> None:
    table = frame()
    read(table)  # writes all clips
    table[table["fold"] == 4].to_parquet(tmp_path / "held_out.pq")
    split = read(table[table["fold"] < 4], validation_strategy="custom", validation_dataframe="held_out.pq")
    assert len(split.validation) == 4 and len(split.train) == 16
    stranger = frame(speakers=1).replace({"s0": "stranger"})
    stranger.assign(audio="x.wav").head(1).to_parquet(tmp_path / "held_out.pq")
    with pytest.raises(DataError) as error:
        read(table, validation_strategy="custom", validation_dataframe="held_out.pq")
    assert error.value.code == "unknown_class"


def test_a_sample_keeps_its_fraction_of_the_chosen_parts(read: Read) -> None:
    table = frame(clips=20, fold=[0, 1] * 40)
    split = read(table, data_sample=0.5)
    assert (len(split.train), len(split.validation)) == (20, 20)
    split = read(table, data_sample=0.5, data_sample_choice=["Train"])
    assert (len(split.train), len(split.validation)) == (20, 40)
    split = read(table, data_sample=0.01)
    assert sorted(set(split.labels[split.train])) == [0, 1, 2, 3]  # none is lost


def test_a_speaker_who_would_be_held_out_whole_is_trained_on(read: Read) -> None:
    table = pd.concat([frame(), pd.DataFrame({"audio": ["t/0.wav"], "class": ["t"], "fold": [0]})])
    split = read(table)
    assert "t/0.wav" in audio(split, split.train)


def test_validation_data_can_be_trained_on(read: Read) -> None:
    split = read(frame(), training={"train_validation_data": True})
    assert len(split.train) == 20 and len(split.validation) == 4


@pytest.mark.parametrize(
    ("table", "settings", "code"),
    [
        (frame(speakers=1), {}, "too_few_speakers"),
        (frame(clips=1), {}, "no_validation_clips"),
        (frame(clips=1).drop(columns="fold"), {}, "no_validation_clips"),
        (frame(clips=1), {"validation_strategy": "automatic"}, "no_validation_clips"),
        (frame().drop(columns="class"), {}, "missing_column"),
        (frame().replace({"class": {"s1": None}}), {}, "missing_values"),
        (frame().replace({"audio": {"s1/1.wav": "../secret.wav"}}), {}, "unsafe_path"),
        (frame().replace({"audio": {"s1/1.wav": "/etc/passwd"}}), {}, "unsafe_path"),
        (frame().replace({"audio": {"s1/1.wav": "s0/1.wav"}}), {}, "conflicting_labels"),
        (frame(), {"files": False}, "missing_audio"),
        (frame(), {"train_dataframe": "absent.pq"}, "dataframe_not_found"),
    ],
)
def test_unusable_data_is_refused_with_a_code(
    read: Read, table: pd.DataFrame, settings: dict[str, Any], code: str
) -> None:
    with pytest.raises(DataError) as error:
        read(table, **settings)
    assert error.value.code == code


def test_missing_clips_are_listed(read: Read) -> None:
    with pytest.raises(DataError) as error:
        read(frame(speakers=2, clips=2), files=False)
    assert error.value.data["clips"] == ["s0/0.wav", "s0/1.wav", "s1/0.wav", "s1/1.wav"]


def test_bytes_that_are_no_table_are_refused(read: Read, tmp_path: Path) -> None:
    (tmp_path / "junk.pq").write_bytes(b"PAR1 this is not parquet")
    with pytest.raises(DataError) as error:
        read(frame(), train_dataframe="junk.pq")
    assert error.value.code == "unreadable_dataframe"
