"""The settings of a retrain: the use case's recipe, the server's overrides, the run's own. Imports no torch."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

import mltraining
from mltraining.speech.config import Config, ConfigError, load_config
from voiceauth.retraining.errors import InvalidSetting, SettingNotAllowed

MLTRAINING = Path(mltraining.__file__).resolve().parent
RECIPE = MLTRAINING / "recipes" / "speaker_recognition.yaml"
# What ``pretrained: true`` starts from: the backbone of the model that ships, so that a retrain needs no network.
BASE_WEIGHTS = MLTRAINING / "base_model" / "encoder.safetensors"

# A caller may tune the training, but not reach for files, devices or the data, which are the server's.
SERVER_SECTIONS = frozenset({"dataset", "logging", "experiment_name"})
SERVER_KEYS = frozenset(
    {
        "architecture.weights_file",
        "augmentation.noise_folder",
        "environment.gpus",
        "environment.number_of_workers",
        "training.build_scoring_pipelines",
        "training.keep_cohort",
    }
)


def overrides_of(config: Mapping[str, Any]) -> list[str]:
    """``section.key=value`` for the training program: the server's overrides, then the run's."""
    own = [f"{key}={json.dumps(value)}" for key, value in config.items()]  # JSON is YAML
    asked = [*settings.VOICEAUTH_TRAINING_OVERRIDES, *own]
    if not any(each.startswith("architecture.backbone=") for each in asked):  # another backbone has other weights
        asked.insert(0, f"architecture.weights_file={BASE_WEIGHTS}")
    return [*asked, "training.build_scoring_pipelines=true"]


def resolve(config: Mapping[str, Any]) -> Config:
    """The configuration that a run with ``config`` (``{"training.epochs": 15}``) trains with.

    Raises ``SettingNotAllowed`` and ``InvalidSetting``, which name the setting.
    """
    for key in config:
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+", key) and key not in SERVER_SECTIONS:
            raise InvalidSetting(f"{key!r} is not a setting: name one as section.key, like training.epochs.")
        if key.split(".", maxsplit=1)[0] in SERVER_SECTIONS or key in SERVER_KEYS:
            raise SettingNotAllowed(f"{key} is the server's own setting.", setting=key)
    try:
        return load_config(RECIPE, overrides_of(config))
    except ConfigError as error:
        raise InvalidSetting(str(error)) from error
