"""Trials of synthetic voices as files: tables and recordings, of a few speakers with gender and age."""

from pathlib import Path

import pandas as pd

from tests.mltraining.speech.synthetic import voice, wav

SPEAKERS = [("anna", "f", "30"), ("berta", "f", "41"), ("carl", "m", "8"), ("dora", "f", ""), ("emil", "m", "25")]


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
