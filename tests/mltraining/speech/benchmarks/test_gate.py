"""The gate's limits, measured: one line a limit, on synthetic voices."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mltraining.speech import cli
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.support.training_data import write_trials


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three speakers with three recordings each, and a pipeline."""
    folder = write_trials(tmp_path / "data", speakers=3, seconds=3.0)
    clips = sorted((folder / "audio").glob("*/*.wav"))
    rows = [(path.parent.name, str(path.relative_to(folder / "audio"))) for path in clips]
    pd.DataFrame(rows, columns=["speaker", "audio"]).to_csv(folder / "enrollment.csv", index=False)
    build(folder / "pipeline")
    return folder


def test_each_limit_tells_whom_it_would_refuse(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--enrollment", "enrollment.csv", "--audio-root", "audio", "--pipeline", "pipeline"]
    given[1::2] = [str(recorded / name) for name in given[1::2]]
    assert cli.main(["benchmark-gate", *given]) == 0
    told = capsys.readouterr().out
    assert "3 speakers, 9 recordings of their own, 18 of somebody else's" in told
    assert "3 recordings of one speaker and 2 of two" in told
    rows = re.findall(r"^\| (-?[\d.]+) \| ([\d.]+) % \| ([\d.]+) % \|$", told, re.MULTILINE)
    shares = [float(own) for _, own, _ in rows]
    cohesion, duplicates, one_voice = shares[:6], shares[6:12], shares[12:]
    assert cohesion == sorted(cohesion) and duplicates == sorted(duplicates, reverse=True)  # stricter refuses more
    assert len(one_voice) == 7 and one_voice == sorted(one_voice)


def test_what_cannot_be_read_is_said(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--enrollment", str(recorded / "none.csv"), "--audio-root", ".", "--pipeline", str(recorded / "pipeline")]
    assert cli.main(["benchmark-gate", *given]) == 2
    assert "none.csv" in capsys.readouterr().err
