"""Test conditions: what the test clips go through, and the groups of speakers."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from mltraining.speech.audio import quality
from mltraining.speech.evaluation.conditions import (
    CONDITIONS,
    TrialAudio,
    load_audio,
    load_speech_folder,
    score_in_conditions,
)
from mltraining.speech.evaluation.trials import EvaluationError, TrialList
from mltraining.speech.scoring.pipeline import ScoringPipeline
from tests.support.audio import wav
from tests.support.scores import Listener
from tests.support.training_data import SPEAKERS, write_trials

BY_NAME = {condition.name: condition for condition in CONDITIONS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trials(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def audio(files: Path) -> TrialAudio:
    return load_speech_folder(files)[0]


def test_a_group_is_of_speakers_whose_gender_or_age_is_known(audio: TrialAudio) -> None:
    found = {name: [SPEAKERS[row][0] for row in np.flatnonzero(members)] for name, members in audio.groups.items()}
    assert found == {
        "female": ["anna", "berta", "dora"],
        "male": ["carl", "emil"],
        "adult": ["anna", "berta", "emil"],
        "child": ["carl"],
    }


def test_audio_is_cut_to_so_much_net_speech_and_clips_with_less_are_left_out(audio: TrialAudio) -> None:
    listener = Listener()
    counted: list[tuple[int, int]] = []
    conditions = [BY_NAME["recorded-1s"], BY_NAME["recorded-5s"]]
    one, five = score_in_conditions(
        cast(ScoringPipeline, listener), audio, conditions, progress=lambda *count: counted.append(count)
    )
    assert counted == [(done, 25) for done in range(1, 26)]  # 5 voiceprints, then twice 10 clips
    cut = listener.heard[len(audio.speakers) : len(audio.speakers) + len(one.clips)]
    assert not len(five.clips) and not len(five.trials(audio).scores)
    spoken = [sum(end - start for start, end in quality.speech_segments(clip)) for clip in audio.clips]
    assert one.clips.tolist() == [row for row, net in enumerate(spoken) if net >= 1]
    assert len(one.clips) > 5
    for waveform, seconds in zip(cut, one.speech_seconds, strict=True):
        assert waveform.sample_rate == 8000
        assert 1 <= waveform.duration_seconds < 2
        assert seconds == pytest.approx(1, abs=0.15)


def test_noise_and_channel_change_the_test_audio_and_never_the_enrollment(audio: TrialAudio) -> None:
    listener = Listener()
    noises = [np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)]
    names = ["recorded", "g711", "g711-10db"]
    score_in_conditions(cast(ScoringPipeline, listener), audio, [BY_NAME[name] for name in names], noises)
    enrolled, rest = listener.heard[: len(audio.speakers)], listener.heard[len(audio.speakers) :]
    assert enrolled == [waveform for waveforms in audio.enrollment for waveform in waveforms]
    count = len(audio.clips)
    recorded, g711, noisy = rest[0], rest[count], rest[2 * count]
    assert recorded is audio.clips[0]
    spectrum = np.abs(np.fft.rfft(g711.samples)) ** 2
    hertz = np.fft.rfftfreq(len(g711.samples), 1 / 8000)
    assert spectrum[hertz < 200].sum() < 1e-3 * spectrum.sum()
    assert quality.measure(noisy).snr_db < quality.measure(g711).snr_db


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda table: table.assign(speaker="nobody"), "unknown_speaker"),
        (lambda table: table.assign(target="0"), "clip_without_target"),
        (lambda table: table.drop(columns="target"), "missing_column"),
        (lambda table: table.assign(audio="gone.wav", target="1"), "missing_audio"),
    ],
)
def test_trials_that_cannot_be_evaluated_are_refused(
    files: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], refusal: str
) -> None:
    change(pd.read_csv(files / "trials.csv", dtype=str)).to_csv(tmp_path / "trials.csv", index=False)
    with pytest.raises(EvaluationError) as error:
        load_audio(TrialList.read(files / "enrollment.csv", tmp_path / "trials.csv", files / "audio"))
    assert error.value.code == refusal


def test_a_speech_folder_gives_its_noise_and_its_groups_where_it_has_them(tmp_path: Path) -> None:
    folder = write_trials(tmp_path, speakers=2, takes=1, seconds=1.2)
    audio, noises = load_speech_folder(folder)
    assert set(audio.groups) == {"female", "male", "adult", "child"} and noises == []
    (folder / "clips.parquet").unlink()
    (folder / "noise").mkdir()
    (folder / "noise" / "hiss.wav").write_bytes(wav(np.random.default_rng(0).normal(0, 0.1, 8000), 8000))
    audio, noises = load_speech_folder(folder)
    assert audio.groups == {} and len(noises) == 1
