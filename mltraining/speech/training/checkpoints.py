"""Checkpoints: written whole or not at all, read without unpickling code."""

import os
from pathlib import Path
from typing import Any

import torch

from mltraining.speech.config import Config
from mltraining.speech.training.manifest import DataError

# What may differ between a run and its resumption. The data may lie elsewhere, but its hash must be the same.
FREE = {
    "environment": ("gpus", "number_of_workers", "seed"),
    "dataset": ("data_folder", "train_dataframe", "validation_dataframe"),
    "logging": ("number_of_audios",),
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside ``path``, flush to the disk and rename, so that a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint to the CPU, or return None if there is none. Raises DataError unreadable_checkpoint."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own
        raise DataError("unreadable_checkpoint", f"{path} cannot be read: {error}") from error


def check_same_run(state: dict[str, Any], config: Config, data_hash: str) -> None:
    """Raise DataError output_of_another_run if the checkpoint is of another configuration or other data."""
    if state["data_hash"] != data_hash:
        raise DataError(
            "output_of_another_run", "the output folder holds a checkpoint of a run on other data. Give another folder."
        )
    asked, found = _fixed(config.to_dict()), _fixed(state["config"])
    differing = sorted(key for key in asked.keys() | found.keys() if asked.get(key) != found.get(key))
    if config.environment.seed not in (-1, state["config"]["environment"]["seed"]):
        differing.append("environment.seed")
    if differing:
        raise DataError(
            "output_of_another_run",
            f"the output folder holds a checkpoint of a run with another {', '.join(differing)}. Give another folder.",
        )


def _fixed(values: dict[str, Any]) -> dict[str, Any]:
    """Flatten the sections, without what may differ."""
    flat: dict[str, Any] = {}
    for section, content in values.items():
        if not isinstance(content, dict):
            flat[section] = content
            continue
        for key, value in content.items():
            if key not in FREE.get(section, ()):
                flat[f"{section}.{key}"] = value
    return flat
