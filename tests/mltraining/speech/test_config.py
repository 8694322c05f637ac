import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mltraining.speech.config import Config, ConfigError, load_config

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "mltraining" / "recipes" / "speaker_recognition.yaml"
REFERENCE_SHA256 = "9abb1e003bd8f4f90327c81b9758f0f1b10a0da53db5808bb5403a09176733b2"  # of the use case's own file


def keys(values: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in values.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


def test_the_reference_file_is_taken_unchanged() -> None:
    config = load_config(RECIPE)
    assert config.architecture.backbone == "resnet50"
    assert config.dataset.folds == ("0",)
    assert config.dataset.test_dataframe is None
    assert config.audio.spectrogram_normalization == "No"
    assert config.augmentation.mix_audio == "Disabled"
    assert config.experiment_name == "89_speaker_recognition"


def test_the_recipe_is_the_reference_file_byte_for_byte() -> None:
    assert hashlib.sha256(RECIPE.read_bytes()).hexdigest() == REFERENCE_SHA256


def test_every_value_of_the_reference_file_arrives() -> None:
    given = yaml.safe_load(RECIPE.read_text())
    resolved = load_config(RECIPE).to_dict()
    for section, values in given.items():
        if not isinstance(values, dict):
            assert resolved[section] == values
            continue
        for key, value in values.items():
            assert resolved[section][key] == (None if value == "None" else value), f"{section}.{key}"


def test_every_key_is_documented_and_nothing_else_is() -> None:
    text = (ROOT / "docs" / "training-configuration.md").read_text(encoding="utf-8")
    table = text.split("## Every key")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_.]+)`", table, flags=re.MULTILINE))
    assert documented == keys(Config().to_dict())
    assert keys(yaml.safe_load(RECIPE.read_text())) <= documented


def test_a_configuration_survives_yaml() -> None:
    config = load_config(RECIPE, ["training.loss_function=CosineBCE"])
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_an_override_is_typed_as_yaml() -> None:
    config = load_config(
        RECIPE,
        [
            "audio.training_chunk_seconds=3",
            "dataset.folds=[0, '1']",
            "training.differential_learning_rate_layers=[head]",
            "environment.gpus=[]",
            "audio.spectrogram_normalization=No",
            "architecture.pretrained=false",
            "experiment_name=mine",
        ],
    )
    assert config.audio.training_chunk_seconds == 3.0
    assert config.dataset.folds == ("0", "1")
    assert config.training.differential_learning_rate_layers == ("head",)
    assert config.environment.gpus == ()
    assert config.audio.spectrogram_normalization == "No"
    assert config.architecture.pretrained is False
    assert config.experiment_name == "mine"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.epoch=3", "training.epoch"),
        ("nothing.at_all=3", "nothing"),
        ("training.epochs=three", "training.epochs"),
        ("training.epochs=2.5", "training.epochs"),
        ("training.epochs=true", "training.epochs"),
        ("training.epochs=0", "training.epochs"),
        ("training.epochs=", "training.epochs"),
        ("training.learning_rate='0.1'", "training.learning_rate"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.learning_rate=-1", "training.learning_rate"),
        ("training.drop_last_batch=1", "training.drop_last_batch"),
        ("training.optimizer=Lion", "training.optimizer"),
        ("training.warmup_epochs=9", "training.warmup_epochs"),
        ("training=3", "training"),
        ("dataset.folds='0'", "dataset.folds"),
        ("dataset.folds=[]", "dataset.folds"),
        ("dataset.data_sample=0", "dataset.data_sample"),
        ("dataset.data_sample_choice=[Test]", "dataset.data_sample_choice"),
        ("dataset.label_columns=[class, other]", "dataset.label_columns"),
        ("dataset.validation_strategy=custom", "dataset.validation_dataframe"),
        ("dataset.validation_dataframe=v.pq", "dataset.validation_dataframe"),
        ("architecture.dropout=1", "architecture.dropout"),
        ("audio.minimum_frequency=20000", "audio.minimum_frequency"),
        ("audio.training_chunk_seconds=0.01", "audio.training_chunk_seconds"),
        ("prediction.max_inference_chunk_seconds=1", "prediction.max_inference_chunk_seconds"),
        ("prediction.inference_chunk_method=Slide", "prediction.inference_chunk_method"),
        ("prediction.metric=F1", "prediction.metric"),
        ("prediction.probability_threshold=1.5", "prediction.probability_threshold"),
        ("environment.seed=-2", "environment.seed"),
        ("augmentation.noise_snr_db=[0, 10, 20]", "augmentation.noise_snr_db"),
        ("augmentation.packet_loss=[0.1, 2]", "augmentation.packet_loss"),
        ("augmentation.clipping_level=[0.9, 0.3]", "augmentation.clipping_level"),
        ("augmentation.codec_weights=[1, 1]", "augmentation.codec_weights"),
        ("augmentation.codec_weights=[0, 0, 0, 0, 0]", "augmentation.codec_weights"),
        ("augmentation.speed_probability=1.5", "augmentation.speed_probability"),
        ("augmentation.babble_share=0.7", "augmentation.babble_share"),
        ("no_equals_sign", "no_equals_sign"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: "):
        load_config(RECIPE, [override])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("logging.logger=Neptune", "logging.logger: .*no network"),
        ("logging.neptune_project=me/mine", "logging.neptune_project: .*no network"),
        ("dataset.unlabeled_dataframe=u.pq", "dataset.unlabeled_dataframe: .*pseudo-labels"),
        ("dataset.test_dataframe=t.pq", "dataset.test_dataframe: .*`score`"),
        ("dataset.data_folder_test=folder", "dataset.data_folder_test: .*`score`"),
    ],
)
def test_what_is_not_done_here_is_refused_with_the_reason(override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(RECIPE, [override])


def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path) -> None:
    for text in ("", "- a", "a: [", "just words"):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_config(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.yaml")


def test_a_folder_of_speech_names_clips_and_noise(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    config = Config().with_values(augmentation={"noise_folder": "other"}).with_speech(tmp_path)
    assert config.dataset.data_folder == str(tmp_path / "audio")
    assert config.dataset.train_dataframe == str(tmp_path / "clips.parquet")
    assert config.augmentation.noise_folder == str(tmp_path / "noise")
    (tmp_path / "noise").rmdir()
    assert config.with_speech(tmp_path).augmentation.noise_folder is None
