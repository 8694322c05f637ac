"""The evaluate command, on synthetic voices."""

import json
from pathlib import Path

import numpy as np
import pytest

from mltraining.speech import cli
from mltraining.speech.evaluation import evaluate
from tests.support.audio import wav
from tests.support.model import export_untrained
from tests.support.training_data import write_trials


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trials(tmp_path_factory.mktemp("trials"), takes=6)


def test_the_command_writes_tables_and_charts_and_gives_the_same_again(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = export_untrained(tmp_path / "pipeline", seed=1)
    noises = tmp_path / "noise"
    noises.mkdir()
    (noises / "hiss.wav").write_bytes(wav(np.random.default_rng(0).normal(0, 0.1, 8000), 8000))
    conditions = ["recorded", "g711", "recorded-1s", "recorded-5s", "g711-10db"]
    documents = []
    for chosen in (conditions, ["g711-10db"]):
        output = tmp_path / f"{len(chosen)}"
        more = ["--noise", str(noises), "--output", str(output), "--conditions", *chosen]
        assert cli.main(["evaluate", "--pipeline", str(pipeline), "--speech", str(files), *more]) == 0
        documents.append(json.loads((output / "evaluation.json").read_text()))
        assert (output / "evaluation.md").read_text() == capsys.readouterr().out
        assert all((output / name).read_bytes()[:4] == b"\x89PNG" for name in ("det.png", "calibration.png"))
    (alone,), (*_, last) = documents[1]["slices"], documents[0]["slices"][:4]
    assert [alone[name] for name in ("name", "eer", "rank_one", "fnir")] == [
        last[name] for name in ("name", "eer", "rank_one", "fnir")
    ]
    assert documents[0]["silence_probe"] == documents[1]["silence_probe"]
    parts = {part["name"]: part for part in documents[0]["slices"]}
    assert set(parts) == {  # no clip has 5 s of speech, and one child alone has no impostor
        "recorded", "g711", "recorded-1s", "g711-10db", "g711-female", "g711-male", "g711-adult"
    }  # fmt: skip
    assert (parts["recorded"]["target_trials"], parts["recorded"]["impostor_trials"]) == (30, 120)
    assert (parts["g711-female"]["target_trials"], parts["g711-female"]["impostor_trials"]) == (18, 36)
    for name in ("recorded", "g711", "g711-10db"):
        assert 0 <= parts[name]["eer"]["low"] <= parts[name]["eer"]["high"] <= 1
        assert 0 <= parts[name]["rank_one"]["value"] <= 1
    assert parts["g711-female"]["eer"]["value"] is None  # 18 target trials support no figure
    assert parts["recorded"]["eer"] != parts["g711-10db"]["eer"]
    assert evaluate.summary(documents[0])["g711 eer"] == parts["g711"]["eer"]
    assert {name: parts["g711"]["eer"][name] for name in ("target_trials", "impostor_trials", "speakers")} == {
        "target_trials": 30, "impostor_trials": 120, "speakers": 5,
    }  # fmt: skip


def test_the_command_says_why_it_refuses(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "evaluate",
        "--pipeline",
        str(tmp_path / "none"),
        "--speech",
        str(files),
        "--output",
        str(tmp_path / "out"),
    ]
    assert cli.main(command) == 2
    assert "invalid_pipeline" in capsys.readouterr().err
