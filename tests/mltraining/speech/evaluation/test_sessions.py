"""What further sessions in a voiceprint are worth: the trials, and the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mltraining.speech import cli
from mltraining.speech.audio.quality import Quality
from mltraining.speech.evaluation import sessions
from mltraining.speech.evaluation.sessions import Recordings
from mltraining.speech.scoring.voiceprints import EmbeddedClip
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.support.stand_in import DIMENSIONS, StandInPipeline
from tests.support.training_data import write_trials

PIPELINE: Any = StandInPipeline()


def heard(speakers: int, per_speaker: int) -> Recordings:
    """Three recordings a session; the line of a session moves its recordings as far as the speaker does."""
    random = np.random.default_rng(0)
    clips, who, when = [], [], []
    for speaker in range(speakers):
        voice = random.normal(size=DIMENSIONS)
        for session in range(per_speaker):
            line = random.normal(size=DIMENSIONS)
            for _ in range(3):
                vector = voice + line + random.normal(size=DIMENSIONS)
                measured = Quality(duration_seconds=4.0, speech_seconds=3.0, snr_db=20.0, clipping_ratio=0.0)
                clips.append(EmbeddedClip((vector / np.linalg.norm(vector)).astype(np.float32), measured))
                who.append(f"speaker {speaker}")
                when.append(f"{session}:{'mobile' if session % 2 else 'landline'}")
    return Recordings(clips, np.array(who, dtype=object), np.array(when, dtype=object))


def test_no_recording_is_tried_against_a_voiceprint_of_its_own_session() -> None:
    recordings = heard(4, 3)
    tried = sessions.try_choices(PIPELINE, recordings, ["speaker 0"], 2, lines=False)
    assert tried is not None
    # Three choices of two sessions; each leaves three recordings of the third session, and 27 of other speakers.
    assert (tried.is_target.sum(), (~tried.is_target).sum()) == (9, 81)
    assert tried.scores["mean"][tried.is_target].max() < 0.99


def test_every_speaker_has_the_same_weight_however_many_sessions_there_are() -> None:
    few, many = heard(2, 2), heard(2, 5)
    joined = Recordings(
        few.clips[:6] + many.clips[15:],
        np.concatenate([few.speakers[:6], many.speakers[15:]]),
        np.concatenate([few.sessions[:6], many.sessions[15:]]),
    )
    tried = sessions.try_choices(PIPELINE, joined, ["speaker 0", "speaker 1"], 1, lines=False)
    assert tried is not None
    for kind in (tried.is_target, ~tried.is_target):
        totals = [tried.weights[kind & (tried.claimed == name)].sum() for name in ("speaker 0", "speaker 1")]
        assert totals == pytest.approx([1, 1])


def test_sessions_of_different_lines_are_chosen_by_what_follows_the_colon() -> None:
    names = ["0:landline", "1:mobile", "2:landline"]
    assert sessions.choices(names, 2, lines=True, seed=0) == [("0:landline", "1:mobile"), ("1:mobile", "2:landline")]
    assert len(sessions.choices([str(number) for number in range(12)], 4, lines=False, seed=0)) == 20


def test_further_sessions_lower_the_error() -> None:
    rows = [line.strip("| ").split(" | ") for line in sessions.report(PIPELINE, heard(6, 5)) if line.startswith("| 6")]
    errors = {(row[1], row[2]): float(row[3].split()[0]) for row in rows}
    rates = {(row[1], row[2]): float(row[5]) for row in rows}
    assert errors["4", "mean"] < errors["2", "mean"] < errors["1", "mean"]
    assert rates["1", "mean"] == pytest.approx(1, abs=0.1)


def test_the_command_embeds_a_table_of_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_trials(tmp_path / "data", speakers=3, seconds=2.0)
    build(folder / "pipeline")
    names = sorted((folder / "audio").glob("*/*.wav"))
    rows = [(path.parent.name, f"{path.parent.name}/{path.name}", f"call {path.stem}", "dev") for path in names]
    table = pd.DataFrame(rows, columns=["speaker", "audio", "session", "split"])
    table.to_parquet(folder / "clips.parquet")
    given = ["evaluate-sessions", "--pipeline", str(folder / "pipeline"), "--speech", str(folder)]
    assert cli.main(given) == 0
    told = capsys.readouterr().out
    assert "| 3 | 1 | mean |" in told and "| 3 | 2 | best |" in told and "| 5 |" not in told
    assert cli.main([*given, "--split", "train"]) == 2
    table.drop(columns="session").to_parquet(folder / "clips.parquet")
    assert cli.main(given) == 2
    said = capsys.readouterr().err
    assert "no_trials" in said and "missing_column" in said
