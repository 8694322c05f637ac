"""Reading trial lists, and scoring them."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mltraining.speech.evaluation.trials import (
    EvaluationError,
    ScoredTrial,
    TrialList,
    UnscoredTrial,
    add_speech_arguments,
    read_table,
    score_trials,
    take_from_speech_folder,
)
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.mltraining.speech.scoring.test_pipeline import build
from tests.support.audio import voice, wav
from tests.support.training_data import write_trials


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> ScoringPipeline:
    folder = tmp_path_factory.mktemp("trials") / "pipeline"
    build(folder, head=False)
    return ScoringPipeline.load(folder)


def test_trials_are_scored_in_order_and_each_recording_is_read_once(pipeline: ScoringPipeline, tmp_path: Path) -> None:
    for speaker in (1, 2):
        for take in range(3):
            (tmp_path / f"{speaker}-{take}.wav").write_bytes(wav(voice(speaker, seconds=3, take=take)))
    quiet = np.random.default_rng(1).normal(0, 0.01, 16_000)
    (tmp_path / "noise.wav").write_bytes(wav(quiet))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    enrollment = pd.DataFrame(
        [("a", "1-0.wav"), ("a", "1-1.wav"), ("a", "broken.wav"), ("b", "2-0.wav"), ("c", "noise.wav")],
        columns=["speaker", "audio"],
    )
    trials = pd.DataFrame(
        [("a", "1-2.wav"), ("b", "1-2.wav"), ("a", "noise.wav"), ("a", "broken.wav"), ("a", "gone.wav"),
         ("c", "1-2.wav"), ("nobody", "1-2.wav")],
        columns=["speaker", "audio"],
    )  # fmt: skip
    steps: list[tuple[int, int]] = []
    found = score_trials(pipeline, TrialList(enrollment, trials, tmp_path), lambda *step: steps.append(step))

    own, other, noise = (each for each in found[:3] if isinstance(each, ScoredTrial))
    assert own.score > other.score
    assert own.quality == other.quality and own.quality.speech_seconds > 0.5 and noise.quality.speech_seconds == 0
    assert own.enrollment_speech_seconds > 1.5 * other.enrollment_speech_seconds  # two clips that decode, and one
    codes = ["not_audio", "missing_audio", "speaker_not_enrolled", "speaker_not_enrolled"]
    assert found[3:] == [UnscoredTrial(code) for code in codes]
    assert steps[-1] == (7, 7)

    itself = score_trials(pipeline, TrialList(enrollment[:1], enrollment[:1], tmp_path))[0]
    assert isinstance(itself, ScoredTrial) and itself.score == pytest.approx(1, abs=1e-5)
    ratio = pipeline.calibration.log_likelihood_ratio(itself.score)
    assert itself.probability == pytest.approx(float(pipeline.calibration.probability(ratio)))


def test_values_of_a_table_are_text_whatever_its_format(tmp_path: Path) -> None:
    table = pd.DataFrame({"speaker": ["007", "NA"], "target": ["1", "0"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert read_table(tmp_path / name, "speaker")["speaker"].tolist() == ["007", "NA"]


@pytest.mark.parametrize(("name", "code"), [("none.csv", "unreadable_table"), ("junk.parquet", "unreadable_table")])
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    with pytest.raises(EvaluationError, match=name) as refused:
        read_table(tmp_path / name)
    assert refused.value.code == code


def test_a_table_without_its_column_is_refused_by_name(tmp_path: Path) -> None:
    for name, write in (("t.csv", pd.DataFrame.to_csv), ("t.parquet", pd.DataFrame.to_parquet)):
        write(pd.DataFrame({"speaker": ["a"]}), tmp_path / name)
        with pytest.raises(EvaluationError, match=f"{name} lacks the column audio, target") as refused:
            read_table(tmp_path / name, "speaker", "audio", "target")
        assert refused.value.code == "missing_column"


@pytest.mark.parametrize("audio", ["/etc/passwd", "../other/a.wav", "a/../../b.wav"])
def test_a_table_names_no_recording_outside_its_folder(tmp_path: Path, audio: str) -> None:
    pd.DataFrame({"audio": ["a.wav", audio]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(EvaluationError, match="must be relative") as refused:
        read_table(tmp_path / "t.csv", "audio")
    assert refused.value.code == "unsafe_path"


def test_a_speech_folder_stands_for_every_option_that_is_not_given(tmp_path: Path) -> None:
    names = ("enrollment", "trials", "audio_root", "clips", "noise")
    folder, parser = write_trials(tmp_path / "speech", speakers=2, takes=1), argparse.ArgumentParser()
    add_speech_arguments(parser, *names)
    options = parser.parse_args(["--speech", str(folder), "--trials", "other.csv"])
    take_from_speech_folder(options, *names)
    assert (options.enrollment, options.trials) == (folder / "enrollment.csv", Path("other.csv"))
    assert (options.audio_root, options.clips) == (folder / "audio", folder / "clips.parquet")
    assert options.noise is None  # the folder has none
    with pytest.raises(EvaluationError, match="give --speech, or --enrollment"):
        take_from_speech_folder(parser.parse_args([]), *names)
