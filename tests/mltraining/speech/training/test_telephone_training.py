"""What the telephone recipe trains with: drawn crops, speeds, corruption, margins, large margin, averaged weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mltraining.speech.config import ConfigError, load_config
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import checkpoints, corruption, dataset, manifest, trainer
from mltraining.speech.training.run import Event, Run, Stopped
from tests.support.model import small_config
from tests.support.training_data import load_clips

RECIPE = Path(__file__).parents[4] / "mltraining" / "recipes" / "telephone.yaml"
MARGIN = {
    "augmentation": {"channel_probability": 0.3, "noise_probability": 0.3, "room_probability": 0.3, "speeds": [0.9]},
    "training": {
        "loss_function": "AAMSoftmax",
        "crops_an_epoch": 24,
        "crops_a_speaker": 2,
        "prototypical_weight": 1.0,
        "ema_decay": 0.8,
        "epochs": 3,
        "large_margin_epochs": 1,
        "large_margin_chunk_seconds": 1.2,
        "margin_warmup_epochs": 1,
        "keep_cohort": True,
    },
}


@pytest.fixture(autouse=True)
def _few_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruption, "ROOMS", 10)


def loaded(clips: Path) -> tuple[manifest.Manifest, dataset.Clips]:
    return load_clips(small_config(clips), seed=0)


def untouched(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return crop


def batches(
    crops: dataset.BalancedCrops, *, lengths: tuple[int, int] = (4000, 4000), rank: int = 0, world: int = 1
) -> list[tuple[np.ndarray, np.ndarray]]:
    epoch = crops.batches(crops=40, batch_size=8, lengths=lengths, seed=[1, 1], workers=2, rank=rank, world=world)
    return [(drawn, labels) for drawn, labels, _ in epoch]


def test_an_epoch_is_the_same_for_the_same_seed_and_shared_between_processes(clips: Path) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(split, samples, speeds=[0.9], balance=0.5, corrupt=untouched)

    once, again = batches(crops), batches(crops)
    halves = [batches(crops, rank=rank, world=2) for rank in (0, 1)]

    assert [labels.tolist() for _, labels in once] == [labels.tolist() for _, labels in again]
    assert all(np.array_equal(one, other) for (one, _), (other, _) in zip(once, again, strict=True))
    for whole, first, second in zip(once, *halves, strict=True):
        assert np.array_equal(whole[0], np.concatenate([first[0], second[0]]))
    assert [crop.shape for crop, _ in once] == [(8, 4000)] * 5


def test_each_batch_draws_its_length_between_the_shortest_and_the_longest(clips: Path) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(split, samples, speeds=[], balance=0.5, corrupt=untouched)
    halves = [batches(crops, lengths=(1000, 8000), rank=rank, world=2) for rank in (0, 1)]
    drawn = [[pieces.shape[1] for pieces, _ in half] for half in halves]
    assert drawn[0] == drawn[1]  # every process has the batch's own
    assert len(set(drawn[0])) > 3 and min(drawn[0]) >= 1000 and max(drawn[0]) <= 8000


def test_a_crop_is_filled_with_further_clips_of_the_same_speaker(clips: Path) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(split, samples, speeds=[], balance=0.5, corrupt=untouched)

    (long, labels), *_ = batches(crops, lengths=(20_000, 20_000))

    for crop, label in zip(long, labels, strict=True):
        own = [samples.samples[row] for row in split.train[split.labels[split.train] == label]]
        beginnings = {clip[:50].tobytes() for clip in own}
        windows = {crop[start : start + 50].tobytes() for start in range(len(crop) - 50)}
        assert beginnings & windows  # a second clip begins within the crop


def test_balance_draws_speakers_alike_or_by_their_speech(clips: Path) -> None:
    split, _ = loaded(clips)
    few = split.without({row for row in range(len(split.clips)) if split.labels[row] == 0 and row % 10 not in (0, 1)})
    _, kept = dataset.load(few, 8000, threads=1, skip_unreadable=False, on_progress=lambda done: None)

    alike = dataset.BalancedCrops(few, kept, speeds=[], balance=1.0, corrupt=untouched)
    by_speech = dataset.BalancedCrops(few, kept, speeds=[], balance=0.0, corrupt=untouched)

    assert alike.share.tolist() == pytest.approx([1 / 3] * 3)
    assert by_speech.share[0] < 0.1


def test_neighbours_in_a_batch_are_one_speaker(clips: Path) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(split, samples, speeds=[0.9], balance=0.5, corrupt=untouched, crops_a_speaker=2)

    for pieces, labels in batches(crops):
        assert labels[::2].tolist() == labels[1::2].tolist()
        assert not any(np.array_equal(one, other) for one, other in zip(pieces[::2], pieces[1::2], strict=True))


def test_another_speed_is_another_speaker(clips: Path) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(split, samples, speeds=[0.9, 1.1], balance=0.5, corrupt=untouched)
    row = int(split.train[0])

    slow, fast = crops.versions[1][row], crops.versions[2][row]

    assert crops.classes == 9
    assert len(slow) == pytest.approx(len(samples.samples[row]) / 0.9, abs=2)
    assert len(fast) == pytest.approx(len(samples.samples[row]) / 1.1, abs=2)
    labels = np.concatenate([labels for _, labels in batches(crops)])
    assert 0.3 < np.mean(labels < 3) < 0.7


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_crop_is_taken_at_another_speed_with_its_probability(clips: Path, chance: float) -> None:
    split, samples = loaded(clips)
    crops = dataset.BalancedCrops(
        split, samples, speeds=[0.9], speed_probability=chance, balance=0.5, corrupt=untouched
    )

    labels = np.concatenate([labels for _, labels in batches(crops)])

    assert np.mean(labels >= 3) == chance


def last_checkpoint(run: Path) -> dict[str, Any]:
    state = checkpoints.load(run / "checkpoints" / "last.pt")
    assert state is not None
    return state


@pytest.mark.parametrize("loss", ["AAMSoftmax", "SphereFace2"])
def test_a_run_with_everything_on_learns_and_leaves_a_cohort(clips: Path, tmp_path: Path, loss: str) -> None:
    settings = small_config(clips, **MARGIN | {"audio": {"speech_only": True}}).with_values(
        training={"loss_function": loss, "epochs": 8, "learning_rate": 0.005}
    )

    trainer.train(settings, tmp_path / "run")

    state = last_checkpoint(tmp_path / "run")
    losses = [row["train_loss"] for row in state["history"]]
    assert losses[6] < losses[1]  # the epochs of the full margin
    averaged, last = state["average"]["module.head.weight"], state["model"]["head.weight"]
    assert averaged.shape[0] == 6
    assert not torch.equal(averaged, last)
    pipeline = ScoringPipeline.load(tmp_path / "run" / "pipeline")
    assert pipeline.cohort is not None and pipeline.class_rows is not None
    assert pipeline.class_rows.shape[0] == 3


def test_a_resumed_run_with_averages_equals_an_uninterrupted_one(clips: Path, tmp_path: Path) -> None:
    settings = small_config(clips, **MARGIN)
    trainer.train(settings, tmp_path / "whole")

    def stop_after_two(event: Event) -> None:
        stopped["now"] = (event["event"] == "epoch" and event["epoch"] == 2) or stopped["now"]

    stopped = {"now": False}
    with pytest.raises(Stopped):
        trainer.train(settings, tmp_path / "cut", progress=stop_after_two, should_stop=lambda: stopped["now"])
    trainer.train(settings, tmp_path / "cut")

    whole, cut = (last_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    for part in ("model", "average"):
        assert all(torch.equal(value, cut[part][name]) for name, value in whole[part].items())


def test_the_margin_rises_and_then_is_the_large_one(clips: Path, tmp_path: Path) -> None:
    run = object.__new__(Run)
    run.config = small_config(clips, **MARGIN)

    assert [round(run.margin(done), 3) for done in (0, 0.5, 1, 1.9, 2)] == [0, 0.1, 0.2, 0.2, 0.4]


def test_the_recipe_that_ships_is_valid_and_trains_on_the_training_split_alone() -> None:
    recipe = load_config(RECIPE)

    assert (recipe.dataset.filter_column, recipe.dataset.filter_value) == ("split", "train")
    assert recipe.architecture.backbone == "resnet50"
    assert recipe.audio.sample_rate == 8000


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"augmentation": {"speeds": [0.9]}}, "training.crops_an_epoch"),
        ({"augmentation": {"speeds": [1.0]}}, "augmentation.speeds"),
        ({"augmentation": {"noise_snr_db": [10, 3]}}, "augmentation.noise_snr_db"),
        ({"dataset": {"filter_column": "split"}}, "dataset.filter_column"),
        ({"audio": {"stft_size": 256}}, "audio.stft_size"),
        (
            {"training": {"loss_function": "AAMSoftmax"}, "augmentation": {"mix_audio": "Mixup"}},
            "augmentation.mix_audio",
        ),
        ({"training": {"large_margin_epochs": 3}}, "training.large_margin_epochs"),
        ({"training": {"crops_a_speaker": 2}}, "training.crops_a_speaker"),
        ({"training": {"prototypical_weight": 1}}, "training.prototypical_weight"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_its_key(
    clips: Path, changes: dict[str, dict[str, Any]], key: str
) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        small_config(clips, **changes)


def test_a_filter_reads_only_its_rows(clips: Path, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(clips / "train.pq")
    frame["split"] = np.where(frame["class"] == "speaker 2", "dev", "train")
    frame.to_parquet(tmp_path / "split.pq")
    where = {"train_dataframe": str(tmp_path / "split.pq"), "filter_column": "split", "filter_value": "train"}

    split = manifest.read(small_config(clips, dataset=where), seed=0)

    assert split.classes == ["speaker 0", "speaker 1"]
