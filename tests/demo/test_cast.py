"""The demo takes real speech from a folder in the format of docs/speech-format.md."""

import tarfile
from pathlib import Path

import pandas as pd
import pytest

from voiceauth.demo import cast


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two speakers with folds, and two of the development set with five recordings of 10 s each."""
    folder = tmp_path / "speech"
    (folder / "audio").mkdir(parents=True)
    closed = [(f"{name}-{fold}.wav", name, fold) for name in ("a", "b") for fold in range(5)]
    dev = [(f"{name}-{take}.wav", name, "dev", 10.0 + take * (name == "c")) for name in ("c", "d") for take in range(5)]
    for path in [row[0] for row in closed] + [row[0] for row in dev]:
        (folder / "audio" / path).write_bytes(path.encode())
    pd.DataFrame(closed, columns=["audio", "class", "fold"]).to_parquet(folder / "train.pq")
    pd.DataFrame(dev, columns=["audio", "speaker", "split", "seconds"]).to_parquet(folder / "clips.parquet")
    return folder


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_cast_is_read_from_a_folder_or_from_a_tar_file(speech: Path, tmp_path: Path, is_packed: bool) -> None:
    if is_packed:
        with tarfile.open(speech / "audio.tar", "w") as archive:
            for path in sorted((speech / "audio").iterdir()):
                archive.add(path, arcname=path.name)
                path.unlink()
        (speech / "audio").rmdir()
    (tmp_path / "scratch").mkdir()
    players = cast.real(speech, tmp_path / "scratch")
    assert [speaker.name for speaker in players.speakers] == ["a", "b"]
    assert players.speakers[0].calls == [b"a-0.wav"]
    assert (players.newcomer.name, players.stranger.name) == ("c", "d")
    assert players.stranger.calls[0] == b"d-0.wav"
