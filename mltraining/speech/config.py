"""The training configuration (YAML) as typed, validated sections.

Every key is either honoured or refused by name, with the reason. ``docs/training-configuration.md`` explains each.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mltraining.speech.settings_reader import (
    ConfigError,
    at_least,
    below_one,
    between,
    build,
    checked,
    fraction,
    not_empty,
    override,
    plain,
    positive,
    probability,
    refused,
    two_rising,
    two_rising_fractions,
)

__all__ = ["MARGIN_LOSSES", "Config", "ConfigError", "load_config"]  # and one dataclass for each section

MARGIN_LOSSES = ("AAMSoftmax", "SphereFace2")


def codec_weights(value: Sequence[float]) -> str | None:
    """Accept a weight for each codec of ``audio.telephone.CODECS``."""
    usable = len(value) == 5 and min(value) >= 0 and sum(value) > 0
    return None if usable else "must be five weights (mulaw, alaw, gsm, amr, opus), none negative and not all 0"


def speed_factors(value: Sequence[float]) -> str | None:
    """Accept speeds from half to double, other than 1."""
    return None if all(0.5 <= speed <= 2 and speed != 1 for speed in value) else "must be between 0.5 and 2, not 1"


@dataclass(frozen=True)
class Architecture:
    """The network, and the weights that it starts from."""

    backbone: str = "resnet50"
    dropout: float = checked(0.0, below_one)
    pool: Literal["Average", "Max", "AverageMax", "GeM", "Statistics"] = "Average"
    pretrained: bool = True
    embedding_dimensions: int = checked(0, at_least(0))  # 0: the pooled features themselves
    weights_file: str | None = None


@dataclass(frozen=True)
class Audio:
    """What the network hears: sample rate, spectrogram and length of the training crops."""

    audio_parameters: Literal["Auto", "Custom"] = "Auto"
    hop_size: int = checked(512, at_least(1))
    maximum_frequency: float = checked(16000.0, positive)
    mel_frequency_bins: int = checked(128, at_least(1))
    minimum_frequency: float = checked(50.0, at_least(0))
    sample_rate: int = checked(22050, at_least(4000))
    speech_only: bool = False  # pauses are cut out before training and before scoring
    spectrogram_normalization: Literal["No", "Mean", "Channel", "Spectrogram"] = "No"
    stft_size: int = checked(0, at_least(0))  # 0: stft_window_size; more pads each window with zeros
    stft_window_size: int = checked(2048, at_least(16))
    training_chunk_seconds: float = checked(60.0, positive)


@dataclass(frozen=True)
class Augmentation:
    """What is done to training crops. The shares and ranges below a probability apply where it strikes."""

    babble_share: float = checked(0.3, probability)  # of the noise; what is left over is coloured noise
    channel_probability: float = checked(0.0, probability)
    clipping_level: tuple[float, float] = checked((0.3, 0.9), two_rising_fractions)  # of the peak
    clipping_probability: float = checked(0.1, probability)
    codec_weights: tuple[float, ...] = checked((4.0, 4.0, 1.0, 1.0, 1.0), codec_weights)  # see audio.telephone.CODECS
    frequency_mask_rows: int = checked(0, at_least(0))
    handset_probability: float = checked(0.0, probability)  # of another microphone's sound, on the telephone
    level_db: tuple[float, float] = checked((-12.0, 6.0), two_rising)
    mix_audio: Literal["Disabled", "Mixup", "Cutmix"] = "Disabled"
    mix_concentration: float = checked(1.0, positive)
    mix_iterations: int = checked(1, at_least(1))
    mix_probability: float = checked(1.0, probability)
    mix_target: Literal["Ratio", "Union"] = "Ratio"
    noise_folder: str | None = None
    noise_probability: float = checked(0.0, probability)
    noise_snr_db: tuple[float, float] = checked((0.0, 20.0), two_rising)
    packet_loss: tuple[float, float] = checked((0.01, 0.08), two_rising_fractions)  # share of the packets
    packet_loss_probability: float = checked(0.2, probability)
    processing_probability: float = checked(0.0, probability)  # of each: gain control, noise suppression, echo
    recorded_noise_share: float = checked(0.4, probability)  # of the noise, from noise_folder
    room_probability: float = checked(0.0, probability)
    speed_probability: float = checked(0.5, probability)
    speeds: tuple[float, ...] = checked((), speed_factors)  # each makes every speaker another speaker
    tandem_probability: float = checked(0.0, probability)  # of a second codec after the first
    time_mask_frames: int = checked(0, at_least(0))


@dataclass(frozen=True)
class Dataset:
    """Which clips are trained on, and which are held out."""

    audio_column: str = "audio"
    data_folder: str = "."
    data_folder_test: str | None = checked(
        None, refused("use `score`, which scores other clips with the pipeline that the run leaves")
    )
    data_sample: float = checked(1.0, fraction)
    data_sample_choice: tuple[Literal["Train", "Validation"], ...] = ("Train", "Validation")
    filter_column: str | None = None  # only the rows whose filter_column holds filter_value are read
    filter_value: str | None = None
    fold_column: str = "fold"
    folds: tuple[str, ...] = ("0",)
    group_fold_column: str | None = "audio"
    label_columns: tuple[str, ...] = checked(("class",), not_empty)
    skip_unreadable: bool = False
    test_dataframe: str | None = checked(
        None, refused("use `score`, which scores other clips with the pipeline that the run leaves")
    )
    train_dataframe: str = "train.pq"
    unlabeled_dataframe: str | None = checked(
        None, refused("pseudo-labels would let unverified voices into a speaker's voiceprint")
    )
    validation_dataframe: str | None = None
    validation_size: float = checked(0.2, between)
    validation_strategy: Literal["kfold", "automatic", "custom"] = "kfold"


@dataclass(frozen=True)
class Environment:
    """Devices, threads, precision and the seed."""

    gpus: tuple[str, ...] = ("0",)
    mixed_precision_inference: bool = False
    mixed_precision_training: bool = True
    number_of_workers: int = checked(4, at_least(0))
    seed: int = checked(-1, at_least(-1))


@dataclass(frozen=True)
class Logging:
    """What a run draws besides its metrics."""

    logger: str | None = checked(
        None, refused("training uses no network; metrics, charts and checkpoints are files in the output folder")
    )
    neptune_project: str = checked("", refused("training uses no network, so there is no Neptune project to log to"))
    number_of_audios: int = checked(8, at_least(0))


@dataclass(frozen=True)
class Prediction:
    """How audio is cut for scoring, and how scores become probabilities and decisions."""

    calibration_prior: float | None = checked(None, between)  # None: 1 / number of classes
    inference_chunk_method: Literal["Fix"] = "Fix"
    inference_chunk_seconds: float = checked(60.0, positive)
    max_inference_chunk_seconds: float = checked(600.0, positive)
    metric: Literal["ROC_AUC", "Rank_One"] = "ROC_AUC"
    normalise_scores: bool = True  # by the cohort, where the pipeline keeps one
    probability_threshold: float = checked(0.5, between)


@dataclass(frozen=True)
class Training:
    """Loss, optimiser, schedule, and what a run leaves."""

    automatically_adjust_batch_size: bool = False
    batch_size: int = checked(32, at_least(1))
    build_onnx: bool = True  # exports for ONNX Runtime, beside the pipeline
    build_scoring_pipelines: bool = True
    calculate_train_metric: bool = False
    crops_a_speaker: int = checked(1, at_least(1))  # that stand next to each other in a batch, with crops_an_epoch
    crops_an_epoch: int = checked(0, at_least(0))  # 0: one of each clip; else drawn, balanced over speakers
    differential_learning_rate: float = checked(0.001, at_least(0))
    differential_learning_rate_layers: tuple[str, ...] = ()
    drop_last_batch: bool = True
    ema_decay: float = checked(0.0, below_one)  # 0: the weights as the optimiser leaves them
    epochs: int = checked(5, at_least(1))
    evaluation_epochs: int = checked(1, at_least(1))
    grad_accumulation: int = checked(1, at_least(1))
    gradient_clip: float = checked(0.0, at_least(0))
    half_precision_weights: bool = False  # in the scoring pipeline
    keep_cohort: bool = False  # leave the speakers' means with the pipeline, as decoys and for score normalisation
    label_weight: float = checked(1.0, at_least(0))  # of loss_function, beside the prototypical loss and the teachers
    large_margin: float = checked(0.4, below_one)
    large_margin_chunk_seconds: float = checked(3.0, positive)
    large_margin_epochs: int = checked(0, at_least(0))  # the last ones
    learning_rate: float = checked(0.001, positive)
    loss_function: Literal["BCE", "CosineBCE", "AAMSoftmax", "SphereFace2"] = "BCE"
    margin: float = checked(0.2, below_one)
    margin_scale: float = checked(16.0, positive)
    margin_warmup_epochs: float = checked(0.0, at_least(0))
    optimizer: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    prediction_weight: float = checked(0.0, at_least(0))  # of predicting what the teachers say
    prototypical_scale: float = checked(16.0, positive)
    prototypical_weight: float = checked(0.0, at_least(0))  # of the prototypical loss, beside loss_function
    relation_weight: float = checked(0.0, at_least(0))  # of the cosines that the teachers find within a batch
    run_interpretations: bool = True
    save_best_checkpoint: bool = False
    schedule: Literal["Cosine", "Linear", "Constant"] = "Cosine"
    shortest_chunk_seconds: float = checked(0.0, at_least(0))  # 0: every batch has training_chunk_seconds
    speaker_lesson_share: float = checked(0.5, probability)  # of what the teachers say: of the speaker, not of the clip
    speaker_balance: float = checked(0.5, probability)  # 0: as much as there is speech; 1: every speaker alike
    teachers: tuple[str, ...] = ()  # folders of imported encoders
    train_validation_data: bool = False
    warmup_epochs: float = checked(0.0, at_least(0))
    weight_decay: float = checked(0.0, at_least(0))


@dataclass(frozen=True)
class Config:
    """The whole configuration of a run, one frozen dataclass for each section."""

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
        """Build the configuration and check it. Raises ConfigError, which names the key."""
        config = build(cls, values)
        _check_together(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, as JSON and YAML have them. ``from_dict`` takes them back."""
        return plain(dataclasses.asdict(self))

    def with_values(self, **by_section: Mapping[str, Any]) -> "Config":
        """Return a copy with other values: ``config.with_values(training={"epochs": 3})``."""
        values = self.to_dict()
        for section, changes in by_section.items():
            values[section] |= changes
        return Config.from_dict(values)

    def with_speech(self, folder: Path) -> "Config":
        """Return a copy that trains on a folder of speech (docs/speech-format.md): clips.parquet, audio/ and noise/."""
        noise = folder / "noise"
        return self.with_values(
            dataset={"data_folder": str(folder / "audio"), "train_dataframe": str(folder / "clips.parquet")},
            augmentation={"noise_folder": str(noise) if noise.is_dir() else None},
        )


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read the YAML file and apply ``section.key=value`` overrides, whose values are YAML too.

    Raises ConfigError for an unreadable file, an unknown key, a wrong type and a refused value.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no sections")
    for assignment in overrides:
        override(values, assignment)
    return Config.from_dict(values)


def _check_together(config: Config) -> None:
    """Raise ConfigError for the first pair of settings that do not go together."""
    audio, augmentation, dataset = config.audio, config.augmentation, config.dataset
    prediction, training = config.prediction, config.training
    corrupted = augmentation.channel_probability or augmentation.noise_probability or augmentation.room_probability
    custom = dataset.validation_strategy == "custom"
    rules = [
        (
            audio.minimum_frequency >= min(audio.maximum_frequency, audio.sample_rate / 2),
            "audio.minimum_frequency: must be below audio.maximum_frequency and half of audio.sample_rate",
        ),
        (
            audio.training_chunk_seconds * audio.sample_rate < audio.stft_window_size,
            "audio.training_chunk_seconds: is shorter than audio.stft_window_size",
        ),
        (
            0 < audio.stft_size < audio.stft_window_size,
            "audio.stft_size: must be at least audio.stft_window_size",
        ),
        (
            prediction.inference_chunk_seconds * audio.sample_rate < audio.stft_window_size,
            "prediction.inference_chunk_seconds: is shorter than audio.stft_window_size",
        ),
        (
            prediction.max_inference_chunk_seconds < prediction.inference_chunk_seconds,
            "prediction.max_inference_chunk_seconds: must be at least prediction.inference_chunk_seconds",
        ),
        (
            len(dataset.label_columns) > 1,
            "dataset.label_columns: must name one column, the speaker; a clip of several speakers is refused",
        ),
        (
            custom and dataset.validation_dataframe is None,
            "dataset.validation_dataframe: is needed with dataset.validation_strategy: custom",
        ),
        (
            not custom and dataset.validation_dataframe is not None,
            "dataset.validation_dataframe: is refused unless dataset.validation_strategy is custom",
        ),
        (
            dataset.validation_strategy == "kfold" and not dataset.folds,
            "dataset.folds: must name the folds that are held out",
        ),
        (
            (dataset.filter_column is None) != (dataset.filter_value is None),
            "dataset.filter_column: must be given together with dataset.filter_value",
        ),
        (
            training.loss_function in MARGIN_LOSSES and augmentation.mix_audio != "Disabled",
            "augmentation.mix_audio: is refused with a margin loss, because a margin belongs to one speaker",
        ),
        (
            augmentation.recorded_noise_share + augmentation.babble_share > 1,
            "augmentation.babble_share: exceeds 1 together with augmentation.recorded_noise_share",
        ),
        (
            bool(corrupted or augmentation.speeds) and not training.crops_an_epoch,
            "training.crops_an_epoch: is needed with speeds, noise, rooms and the telephone channel",
        ),
        (
            bool(training.teachers) and not training.crops_an_epoch,
            "training.crops_an_epoch: is needed with training.teachers",
        ),
        (
            bool(training.teachers) and not config.architecture.embedding_dimensions,
            "architecture.embedding_dimensions: is needed with training.teachers, whose embeddings are predicted",
        ),
        (
            training.shortest_chunk_seconds * audio.sample_rate > 0
            and not audio.stft_window_size
            <= training.shortest_chunk_seconds * audio.sample_rate
            <= audio.training_chunk_seconds * audio.sample_rate,
            "training.shortest_chunk_seconds: must lie between audio.stft_window_size and audio.training_chunk_seconds",
        ),
        (
            bool(corrupted) and audio.sample_rate != 8000,
            "audio.sample_rate: must be 8000 with noise, rooms or the telephone channel",
        ),
        (
            training.crops_a_speaker > 1
            and (not training.crops_an_epoch or training.batch_size % training.crops_a_speaker != 0),
            "training.crops_a_speaker: needs training.crops_an_epoch and must divide training.batch_size",
        ),
        (
            training.prototypical_weight > 0 and training.crops_a_speaker < 2,
            "training.prototypical_weight: needs training.crops_a_speaker of at least 2",
        ),
        (
            training.large_margin_epochs > training.epochs,
            "training.large_margin_epochs: must not exceed training.epochs",
        ),
        (
            training.warmup_epochs > training.epochs,
            "training.warmup_epochs: must not exceed training.epochs",
        ),
    ]
    for broken, message in rules:
        if broken:
            raise ConfigError(message)
