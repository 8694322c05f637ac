"""The configuration of a retrain: the recipe, the server's overrides, and the run's own. Imports no torch."""

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
# What ``pretrained: true`` starts from: a resnet50 that knows telephone speech. A retrain needs no network for it.
START_WEIGHTS = MLTRAINING / "start_weights" / "resnet50.safetensors"

# Where the export of the recordings lies, as the training program sees it from the run's folder.
ALWAYS = ("dataset.data_folder=data", "dataset.train_dataframe=train.pq", "training.build_scoring_pipelines=true")

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


def starts_without_customers(config: Mapping[str, Any]) -> bool:
    """Return whether a run with this resolved configuration starts from weights that have heard no customer.

    Those that ship and those of other networks have not. Nobody knows of a file that the server's
    overrides name, which may come from an earlier retrain.
    """
    return config["architecture"]["weights_file"] in (None, str(START_WEIGHTS))


def resolve(config: Mapping[str, Any]) -> Config:
    """Return the configuration that a run with the overrides ``config`` (``{"training.epochs": 15}``) trains with.

    The recipe comes first, then the server's overrides, then the run's own. Raises ``SettingNotAllowed`` and
    ``InvalidSetting``, which name the setting.
    """
    for key in config:
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+", key) and key not in SERVER_SECTIONS:
            raise InvalidSetting(f"{key!r} is not a setting. Name one as section.key, like training.epochs.")
        if key.split(".", maxsplit=1)[0] in SERVER_SECTIONS or key in SERVER_KEYS:
            raise SettingNotAllowed(f"{key} can be set on the server only.", setting=key)
    own = [f"{key}={json.dumps(value)}" for key, value in config.items()]  # JSON is YAML
    asked = [*settings.VOICEAUTH_TRAINING_OVERRIDES, *own]
    if not any(each.startswith("architecture.backbone=") for each in asked):  # another backbone has other weights
        asked.insert(0, f"architecture.weights_file={START_WEIGHTS}")
    try:
        return load_config(RECIPE, [*asked, *ALWAYS])
    except ConfigError as error:
        raise InvalidSetting(str(error)) from error
