"""Recordings of synthetic voices in folders: clips to train on, and trials to evaluate on."""

from pathlib import Path

import pandas as pd
import pytest

from mltraining.speech.config import Config
from mltraining.speech.training import dataset, manifest
from tests.support.audio import voice, wav

VOICES = (0, 3, 19)  # of ``audio.voice``, far apart in pitch or in the length of the vocal tract
SPEAKERS = [("anna", "f", "30"), ("berta", "f", "41"), ("carl", "m", "8"), ("dora", "f", ""), ("emil", "m", "25")]


def write_clips(folder: Path, *, speakers: int = 3, clips: int = 10) -> None:
    """``folder``/s<speaker>/<take>.wav of 1 s at 8 kHz, and train.pq with five folds within each speaker."""
    rows = []
    for speaker in range(speakers):
        (folder / f"s{speaker}").mkdir(parents=True)
        for take in range(clips):
            name = f"s{speaker}/{take}.wav"
            samples = voice(VOICES[speaker], seconds=1.0, sample_rate=8000, take=take)
            (folder / name).write_bytes(wav(samples, 8000))
            rows.append((name, f"speaker {speaker}", take % 5))
    pd.DataFrame(rows, columns=["audio", "class", "fold"]).to_parquet(folder / "train.pq")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three voices with ten clips each, to be read only."""
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


def load_clips(
    config: Config, *, seed: int = 1, skip_unreadable: bool = False
) -> tuple[manifest.Manifest, dataset.Clips]:
    """The split of the configuration's data, and its clips as the trainer loads them."""
    split, rate = manifest.read(config, seed=seed), config.audio.sample_rate
    return dataset.load(split, rate, threads=1, skip_unreadable=skip_unreadable, on_progress=lambda done: None)


def write_trials(folder: Path, *, speakers: int = len(SPEAKERS), takes: int = 2, seconds: float = 2.4) -> Path:
    """``folder``/{enrollment.csv, trials.csv, clips.parquet, audio/}: one enrollment clip a speaker, every trial."""
    chosen = SPEAKERS[:speakers]
    for number, (name, _, _) in enumerate(chosen):
        (folder / "audio" / name).mkdir(parents=True)
        for take in range(takes + 1):
            samples = voice(number, seconds=seconds, sample_rate=8000, take=take)
            (folder / "audio" / name / f"{take}.wav").write_bytes(wav(samples, 8000))
    names = [name for name, _, _ in chosen]
    enrollment = [(name, f"{name}/0.wav") for name in names]
    pd.DataFrame(enrollment, columns=["speaker", "audio"]).to_csv(folder / "enrollment.csv", index=False)
    trials = [
        (claimed, f"{name}/{take}.wav", int(claimed == name))
        for name in names
        for take in range(1, takes + 1)
        for claimed in names
    ]
    pd.DataFrame(trials, columns=["speaker", "audio", "target"]).to_csv(folder / "trials.csv", index=False)
    pd.DataFrame(chosen, columns=["speaker", "gender", "age"]).to_parquet(folder / "clips.parquet")
    return folder
