"""The training YAML as typed, validated sections.

A key is honoured or refused by name with the reason; what each does is in ``docs/training-configuration.md``.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

MARGIN_LOSSES = ("AAMSoftmax", "SphereFace2")


class ConfigError(ValueError):
    """The configuration cannot be run; the message names the key."""

    code = "invalid_configuration"


def _at_least(minimum: float) -> Callable[[Any], str | None]:
    return lambda value: None if value >= minimum else f"must be at least {minimum:g}"


def _positive(value: float) -> str | None:
    return None if value > 0 else "must be greater than 0"


def _fraction(value: float) -> str | None:
    return None if 0 < value <= 1 else "must be greater than 0 and at most 1"


def _below_one(value: float) -> str | None:
    return None if 0 <= value < 1 else "must be at least 0 and below 1"


def _probability(value: float) -> str | None:
    return None if 0 <= value <= 1 else "must be between 0 and 1"


def _between(value: float) -> str | None:
    return None if value is None or 0 < value < 1 else "must be between 0 and 1, both excluded"


def _not_empty(value: Sequence[Any]) -> str | None:
    return None if value else "must not be empty"


def _two_rising(value: Sequence[float]) -> str | None:
    return None if len(value) == 2 and value[0] <= value[1] else "must be two numbers, the lower one first"


def _speeds(value: Sequence[float]) -> str | None:
    return None if all(0.5 <= speed <= 2 and speed != 1 for speed in value) else "must be between 0.5 and 2, not 1"


def _refused(reason: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in (None, "") else f"is refused: {reason}"


def checked(default: Any, check: Callable[[Any], str | None]) -> Any:
    """A dataclass field whose value ``check`` refuses by returning the reason."""
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata={"check": check})
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class Architecture:
    backbone: str = "resnet50"
    dropout: float = checked(0.0, _below_one)
    pool: Literal["Average", "Max", "AverageMax", "GeM", "Statistics"] = "Average"
    pretrained: bool = True
    embedding_dimensions: int = checked(0, _at_least(0))  # 0: the pooled features themselves
    weights_file: str | None = None


@dataclass(frozen=True)
class Audio:
    audio_parameters: Literal["Auto", "Custom"] = "Auto"
    hop_size: int = checked(512, _at_least(1))
    maximum_frequency: float = checked(16000.0, _positive)
    mel_frequency_bins: int = checked(128, _at_least(1))
    minimum_frequency: float = checked(50.0, _at_least(0))
    sample_rate: int = checked(22050, _at_least(4000))
    speech_only: bool = False  # pauses are cut out before training and before scoring
    spectrogram_normalization: Literal["No", "Mean", "Channel", "Spectrogram"] = "No"
    stft_size: int = checked(0, _at_least(0))  # 0: stft_window_size; more pads each window with zeros
    stft_window_size: int = checked(2048, _at_least(16))
    training_chunk_seconds: float = checked(60.0, _positive)


@dataclass(frozen=True)
class Augmentation:
    channel_probability: float = checked(0.0, _probability)
    frequency_mask_rows: int = checked(0, _at_least(0))
    mix_audio: Literal["Disabled", "Mixup", "Cutmix"] = "Disabled"
    mix_concentration: float = checked(1.0, _positive)
    mix_iterations: int = checked(1, _at_least(1))
    mix_probability: float = checked(1.0, _probability)
    mix_target: Literal["Ratio", "Union"] = "Ratio"
    noise_folder: str | None = None
    noise_probability: float = checked(0.0, _probability)
    noise_snr_db: tuple[float, ...] = checked((0.0, 20.0), _two_rising)
    room_probability: float = checked(0.0, _probability)
    speeds: tuple[float, ...] = checked((), _speeds)  # each makes every speaker another speaker
    time_mask_frames: int = checked(0, _at_least(0))


@dataclass(frozen=True)
class Dataset:
    audio_column: str = "audio"
    data_folder: str = "."
    data_folder_test: str | None = checked(
        None, _refused("there is no test frame here; `score` scores other clips with the pipeline that the run leaves")
    )
    data_sample: float = checked(1.0, _fraction)
    data_sample_choice: tuple[Literal["Train", "Validation"], ...] = ("Train", "Validation")
    filter_column: str | None = None  # only the rows whose filter_column holds filter_value are read
    filter_value: str | None = None
    fold_column: str = "fold"
    folds: tuple[str, ...] = ("0",)
    group_fold_column: str | None = "audio"
    label_columns: tuple[str, ...] = checked(("class",), _not_empty)
    skip_unreadable: bool = False
    test_dataframe: str | None = checked(
        None, _refused("`score` scores other clips with the pipeline that the run leaves")
    )
    train_dataframe: str = "train.pq"
    unlabeled_dataframe: str | None = checked(
        None, _refused("pseudo-labels would let unverified voices into a speaker's voiceprint")
    )
    validation_dataframe: str | None = None
    validation_size: float = checked(0.2, _between)
    validation_strategy: Literal["kfold", "automatic", "custom"] = "kfold"


@dataclass(frozen=True)
class Environment:
    gpus: tuple[str, ...] = ("0",)
    mixed_precision_inference: bool = False
    mixed_precision_training: bool = True
    number_of_workers: int = checked(4, _at_least(0))
    seed: int = checked(-1, _at_least(-1))


@dataclass(frozen=True)
class Logging:
    logger: str | None = checked(
        None, _refused("training uses no network; metrics, charts and checkpoints are files in the output folder")
    )
    neptune_project: str = checked("", _refused("training uses no network, so there is no Neptune project to log to"))
    number_of_audios: int = checked(8, _at_least(0))


@dataclass(frozen=True)
class Prediction:
    calibration_prior: float | None = checked(None, _between)  # None: 1 / number of classes
    inference_chunk_method: Literal["Fix"] = "Fix"
    inference_chunk_seconds: float = checked(60.0, _positive)
    max_inference_chunk_seconds: float = checked(600.0, _positive)
    metric: Literal["ROC_AUC", "Rank_One"] = "ROC_AUC"
    probability_threshold: float = checked(0.5, _between)


@dataclass(frozen=True)
class Training:
    automatically_adjust_batch_size: bool = False
    batch_size: int = checked(32, _at_least(1))
    build_onnx: bool = True  # exports for ONNX Runtime, beside the pipeline
    build_scoring_pipelines: bool = True
    calculate_train_metric: bool = False
    crops_a_speaker: int = checked(1, _at_least(1))  # that stand next to each other in a batch, with crops_an_epoch
    crops_an_epoch: int = checked(0, _at_least(0))  # 0: one of each clip; else drawn, balanced over speakers
    differential_learning_rate: float = checked(0.001, _at_least(0))
    differential_learning_rate_layers: tuple[str, ...] = ()
    drop_last_batch: bool = True
    ema_decay: float = checked(0.0, _below_one)  # 0: the weights as the optimiser leaves them
    epochs: int = checked(5, _at_least(1))
    evaluation_epochs: int = checked(1, _at_least(1))
    grad_accumulation: int = checked(1, _at_least(1))
    gradient_clip: float = checked(0.0, _at_least(0))
    half_precision_weights: bool = False  # in the scoring pipeline
    keep_cohort: bool = False  # leave the speakers' means with the pipeline, for score normalisation
    large_margin: float = checked(0.4, _below_one)
    large_margin_chunk_seconds: float = checked(3.0, _positive)
    large_margin_epochs: int = checked(0, _at_least(0))  # the last ones
    learning_rate: float = checked(0.001, _positive)
    loss_function: Literal["BCE", "CosineBCE", "AAMSoftmax", "SphereFace2"] = "BCE"
    margin: float = checked(0.2, _below_one)
    margin_scale: float = checked(16.0, _positive)
    margin_warmup_epochs: float = checked(0.0, _at_least(0))
    optimizer: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    prototypical_scale: float = checked(16.0, _positive)
    prototypical_weight: float = checked(0.0, _at_least(0))  # of the prototypical loss, beside loss_function
    run_interpretations: bool = True
    save_best_checkpoint: bool = False
    schedule: Literal["Cosine", "Linear", "Constant"] = "Cosine"
    speaker_balance: float = checked(0.5, _probability)  # 0: as much as there is speech; 1: every speaker alike
    train_validation_data: bool = False
    warmup_epochs: float = checked(0.0, _at_least(0))
    weight_decay: float = checked(0.0, _at_least(0))


@dataclass(frozen=True)
class Config:
    """The whole of a run's configuration, one frozen dataclass a section."""

    architecture: Architecture = field(default_factory=Architecture)
    audio: Audio = field(default_factory=Audio)
    augmentation: Augmentation = field(default_factory=Augmentation)
    dataset: Dataset = field(default_factory=Dataset)
    environment: Environment = field(default_factory=Environment)
    experiment_name: str = "speaker_recognition"
    logging: Logging = field(default_factory=Logging)
    prediction: Prediction = field(default_factory=Prediction)
    training: Training = field(default_factory=Training)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Build and check. Raises ConfigError, which names the key."""
        config = _build(cls, values, "")
        _check_together(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as JSON and YAML have them; ``from_dict`` takes it back."""
        return _plain(dataclasses.asdict(self))

    def with_values(self, **by_section: Mapping[str, Any]) -> "Config":
        """A copy with other values: ``config.with_values(training={"epochs": 3})``."""
        values = self.to_dict()
        for section, changes in by_section.items():
            values[section] |= changes
        return Config.from_dict(values)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read the YAML file and apply ``section.key=value`` overrides, whose values are YAML too.

    Raises ConfigError: unreadable file, unknown key, wrong type, refused value.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no sections")
    for override in overrides:
        _override(values, override)
    return Config.from_dict(values)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override}: an override is section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: the value {text!r} is not YAML") from error
    *sections, name = key.strip().split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{key}: there is no such key")
    target[name] = value


def _build(cls: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')}: must be a section, not {values!r}")
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise ConfigError(f"{prefix}{key}: there is no such key; known here: {', '.join(fields)}")
    kinds = typing.get_type_hints(cls)
    built = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if dataclasses.is_dataclass(kinds[key]):
            built[key] = _build(kinds[key], value, f"{name}.")
            continue
        built[key] = _typed(kinds[key], value, name)
        check = fields[key].metadata.get("check")
        reason = check(built[key]) if check else None
        if reason:
            raise ConfigError(f"{name}: {built[key]!r} {reason}")
    return cls(**built)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """``value`` as ``kind``, or a ConfigError that names the key."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # only "or None" is used; the field's own files write 'None'
        if value is None or value == "None":
            return None
        return _typed(arguments[0], value, name)
    if origin is Literal:
        if value is False and "No" in arguments:  # an unquoted No is false in YAML 1.1
            value = "No"
        if value not in arguments:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name}: must be a list, not {value!r}")
        return tuple(_typed(arguments[0], item, name) for item in value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)  # a fold or a GPU may be written 0 or '0'
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConfigError(f"{name}: must be a finite number")
        return float(value)
    words = {bool: "true or false", str: "a string", int: "a whole number", float: "a number"}
    raise ConfigError(f"{name}: must be {words[kind]}, not {value!r}")


def _check_together(config: Config) -> None:
    audio, dataset, prediction, training = config.audio, config.dataset, config.prediction, config.training
    if audio.minimum_frequency >= min(audio.maximum_frequency, audio.sample_rate / 2):
        raise ConfigError(
            "audio.minimum_frequency: must be below audio.maximum_frequency and half of audio.sample_rate"
        )
    if audio.training_chunk_seconds * audio.sample_rate < audio.stft_window_size:
        raise ConfigError("audio.training_chunk_seconds: is shorter than audio.stft_window_size")
    if prediction.inference_chunk_seconds * audio.sample_rate < audio.stft_window_size:
        raise ConfigError("prediction.inference_chunk_seconds: is shorter than audio.stft_window_size")
    if prediction.max_inference_chunk_seconds < prediction.inference_chunk_seconds:
        raise ConfigError("prediction.max_inference_chunk_seconds: must be at least prediction.inference_chunk_seconds")
    if len(dataset.label_columns) > 1:
        raise ConfigError("dataset.label_columns: name one column, the speaker; a clip with several is refused here")
    if dataset.validation_strategy == "custom" and dataset.validation_dataframe is None:
        raise ConfigError("dataset.validation_dataframe: is needed by dataset.validation_strategy: custom")
    if dataset.validation_strategy != "custom" and dataset.validation_dataframe is not None:
        raise ConfigError("dataset.validation_dataframe: is refused unless dataset.validation_strategy is custom")
    if dataset.validation_strategy == "kfold" and not dataset.folds:
        raise ConfigError("dataset.folds: must name the folds that are held out")
    if (dataset.filter_column is None) != (dataset.filter_value is None):
        raise ConfigError("dataset.filter_column: goes with dataset.filter_value")
    if training.loss_function in MARGIN_LOSSES and config.augmentation.mix_audio != "Disabled":
        raise ConfigError("augmentation.mix_audio: a margin belongs to one speaker; refused with a margin loss")
    augmentation = config.augmentation
    drawn = augmentation.speeds or augmentation.channel_probability
    if (drawn or augmentation.noise_probability or augmentation.room_probability) and not training.crops_an_epoch:
        raise ConfigError("training.crops_an_epoch: must be given with speeds, noise, rooms or the telephone channel")
    if (augmentation.channel_probability or augmentation.noise_probability or augmentation.room_probability) and (
        audio.sample_rate != 8000
    ):
        raise ConfigError("audio.sample_rate: noise, rooms and the telephone channel are simulated at 8000 Hz")
    if training.crops_a_speaker > 1 and (not training.crops_an_epoch or training.batch_size % training.crops_a_speaker):
        raise ConfigError("training.crops_a_speaker: needs training.crops_an_epoch and must divide training.batch_size")
    if training.prototypical_weight and training.crops_a_speaker < 2:
        raise ConfigError("training.prototypical_weight: needs training.crops_a_speaker of at least 2")
    if training.large_margin_epochs > training.epochs:
        raise ConfigError("training.large_margin_epochs: must not exceed training.epochs")
    if audio.stft_size and audio.stft_size < audio.stft_window_size:
        raise ConfigError("audio.stft_size: must be at least audio.stft_window_size")
    if training.warmup_epochs > training.epochs:
        raise ConfigError("training.warmup_epochs: must not exceed training.epochs")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
