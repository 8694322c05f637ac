import subprocess
import sys
from typing import Any

import pytest
from pytest_django import Settings

from voiceauth.retraining import training_settings
from voiceauth.retraining.errors import InvalidSetting, SettingNotAllowed


def test_a_runs_settings_come_after_the_servers(settings: Settings) -> None:
    settings.VOICEAUTH_TRAINING_OVERRIDES = ["training.epochs=7", "architecture.pretrained=false"]
    config = training_settings.resolve({"training.epochs": 3, "training.loss_function": "CosineBCE"})
    assert config.training.epochs == 3
    assert config.training.loss_function == "CosineBCE"
    assert config.architecture.pretrained is False


def test_pretrained_starts_from_the_model_that_ships(settings: Settings) -> None:
    settings.VOICEAUTH_TRAINING_OVERRIDES = []

    assert training_settings.resolve({}).architecture.weights_file == str(training_settings.START_WEIGHTS)
    other = training_settings.resolve({"architecture.backbone": "resnet18"}).architecture
    assert other.weights_file is None
    settings.VOICEAUTH_TRAINING_OVERRIDES = ["architecture.weights_file=mine.safetensors"]
    assert training_settings.resolve({}).architecture.weights_file == "mine.safetensors"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.data_folder", "/etc"),
        ("dataset.train_dataframe", "other.pq"),
        ("dataset.folds", ["1"]),
        ("architecture.weights_file", "/etc/passwd"),
        ("logging.logger", "Neptune"),
        ("experiment_name", "mine"),
        ("environment.gpus", ["0", "1"]),
        ("training.build_scoring_pipelines", False),
        ("augmentation.noise_folder", "/etc"),
        ("training.keep_cohort", True),
    ],
)
def test_a_caller_cannot_reach_for_the_servers_settings(key: str, value: Any) -> None:
    with pytest.raises(SettingNotAllowed) as caught:
        training_settings.resolve({key: value})
    assert caught.value.data == {"setting": key}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.epoch", 3),
        ("training.epochs", "three"),
        ("training.epochs", 0),
        ("training", {"epochs": 3}),
        ("training.epochs.more", 3),
        ("", 3),
        ("training.epochs=1", 3),
        ("audio.sample_rate", None),
    ],
)
def test_an_unknown_or_wrong_setting_is_named(key: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"training|audio|key"):
        training_settings.resolve({key: value})


def test_a_web_process_imports_neither_torch_nor_onnxruntime() -> None:
    """All that the URLs import, which is all that a web process imports."""
    program = (
        "import django, sys; django.setup(); import voiceauth.retraining.urls, enrollment.urls; "
        "print([name for name in ('torch', 'onnxruntime', 'timm', 'av', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
