"""The table of decisions where more than the caller is in the recording, on synthetic voices."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from mltraining.speech.audio import quality
from mltraining.speech.audio.waveform import Waveform
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.support.audio import voice
from tests.support.training_data import write_trials
from voiceauth.verification.management.commands.benchmark_hearing import CALLS, RATE


def test_each_kind_of_call_has_a_row_of_its_decisions(tmp_path: Path) -> None:
    folder = write_trials(tmp_path / "data", speakers=3, seconds=3.0)
    build(tmp_path / "pipeline")
    told = StringIO()
    call_command(
        "benchmark_hearing", "--pipeline", tmp_path / "pipeline", "--speech", folder, "--strangers", 1, stdout=told
    )
    rows = [line.split("|") for line in told.getvalue().splitlines()[2:]]
    assert [row[1].strip() for row in rows] == list(CALLS)
    assert all(0 <= float(cell.strip(" %")) <= 100 for row in rows for cell in row[2:6])


def test_a_folder_without_trials_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "pipeline")
    with pytest.raises(CommandError, match=r"trials.csv|enrollment.csv"):
        call_command("benchmark_hearing", "--pipeline", tmp_path / "pipeline", "--speech", tmp_path)


@pytest.mark.parametrize("name", [name for name in CALLS if "voice" not in name and "person" not in name])
def test_what_is_no_voice_adds_no_speech_to_the_callers(name: str) -> None:
    said = voice(1, seconds=4.0, sample_rate=RATE) * 0.5
    call = CALLS[name](said, said)
    alone, together = (
        quality.measure(Waveform(np.asarray(each, dtype=np.float32), RATE)).speech_seconds for each in (said, call)
    )
    assert alone > 1 and together <= alone + 0.5
