"""A tiny data set and the configuration that a test can train on in seconds."""

from pathlib import Path
from typing import Any

import pandas as pd

from mltraining.speech.config import Config
from tests.mltraining.speech.synthetic import voice, wav

VOICES = (0, 3, 19)  # of ``synthetic.voice``, far apart in pitch or in the length of the vocal tract

SMALL: dict[str, dict[str, Any]] = {
    "architecture": {"backbone": "test_resnet", "pretrained": False},
    "audio": {
        "sample_rate": 8000,
        "stft_window_size": 512,
        "hop_size": 160,
        "mel_frequency_bins": 32,
        "maximum_frequency": 4000,
        "training_chunk_seconds": 0.8,
    },
    "environment": {"seed": 5, "gpus": [], "number_of_workers": 1, "mixed_precision_training": False},
    "logging": {"number_of_audios": 1},
    "training": {
        "loss_function": "CosineBCE",
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 0.003,
        "run_interpretations": False,
        "build_onnx": False,
    },
}


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


def small_config(folder: Path, **sections: dict[str, Any]) -> Config:
    values = {"dataset": {"data_folder": str(folder)}}
    for section, settings in SMALL.items():
        values[section] = settings | sections.pop(section, {})
    for section, settings in sections.items():
        values[section] = values.get(section, {}) | settings
    return Config.from_dict(values)
