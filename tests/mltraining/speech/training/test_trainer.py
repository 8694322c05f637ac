import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mltraining.speech.audio import decoding
from mltraining.speech.audio.waveform import crop
from mltraining.speech.config import Config, ConfigError
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import build_network
from mltraining.speech.scoring import inference
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import dataset, trainer
from mltraining.speech.training.learner import Batch
from mltraining.speech.training.manifest import DataError
from mltraining.speech.training.optimization import build_scheduler, factor
from mltraining.speech.training.processes import Processes
from mltraining.speech.training.run import Event, Progress, Run, Stopped
from tests.support.audio import encode, voice
from tests.support.model import small_config
from tests.support.training_data import load_clips, write_clips

Finished = tuple[Path, Config, list[Event]]


@pytest.fixture(scope="module")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of sixteen epochs, its configuration and its events."""
    output = tmp_path_factory.mktemp("finished")
    config = small_config(clips, training={"epochs": 16, "run_interpretations": True, "calculate_train_metric": True})
    events: list[Event] = []
    trainer.train(config, output, progress=events.append)
    return output, config, events


def metrics(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics.json").read_text())


def test_training_separates_three_voices(finished: Finished) -> None:
    output, _, _ = finished
    found = metrics(output)
    assert found["epochs"][-1]["train_loss"] < found["epochs"][0]["train_loss"] / 2
    assert found["final"]["roc_auc"] > 0.95
    assert found["final"]["rank_one"] >= 5 / 6
    assert found["epochs"][-1]["train_rank_one"] > 0.9
    assert (found["classes"], found["training_clips"], found["validation_clips"]) == (3, 24, 6)


def test_a_run_leaves_all_that_it_promises(finished: Finished) -> None:
    output, config, events = finished
    epoch = {
        "epoch", "train_loss", "validation_loss", "roc_auc", "rank_one", "genuine_over_threshold",
        "impostor_over_threshold", "seconds", "learning_rate", "crops_a_second", "waited_for_data",
    }  # fmt: skip
    first = metrics(output)["epochs"][0]
    assert epoch <= set(first)
    assert first["crops_a_second"] * first["seconds"] > 24 and 0 <= first["waited_for_data"] < 1
    final = {"rank_one", "roc_auc", "false_reject_rate", "false_accept_rate", "eer", "cllr", "fingerprint"}
    assert final <= set(metrics(output)["final"])
    assert len(pd.read_csv(output / "metrics.csv")) == config.training.epochs
    predictions = pd.read_parquet(output / "validation_predictions.parquet")
    assert list(predictions.columns) == ["audio", "class", "fold", "speaker 0", "speaker 1", "speaker 2"]
    assert len(predictions) == 6
    charts = {path.name for path in (output / "charts").iterdir()}
    assert {"losses.png", "roc.png", "confusion_matrix.png", "score_histogram.png", "spectrogram_1.png"} <= charts
    assert list((output / "interpretations").glob("*.png"))
    assert Config.from_dict(yaml.safe_load((output / "config.yaml").read_text())) == config
    epochs = [event["epoch"] for event in events if event["event"] == "epoch"]
    assert epochs == list(range(1, config.training.epochs + 1))
    percents = [event["percent"] for event in events]
    assert percents == sorted(percents) and percents[-1] == 100
    assert events[-1]["event"] == "done"


def test_a_file_scores_the_same_in_training_and_in_the_pipeline(finished: Finished, clips: Path) -> None:
    output, config, _ = finished
    pipeline = ScoringPipeline.load(output / "pipeline")
    predictions = pd.read_parquet(output / "validation_predictions.parquet")
    for _, row in predictions.iterrows():
        waveform = decoding.decode((clips / row["audio"]).read_bytes())
        for name, probability in pipeline.classify(waveform).items():
            assert probability == pytest.approx(row[name], abs=1e-5)
    split, loaded = load_clips(config)
    state = torch.load(output / "checkpoints" / "last.pt", weights_only=True)
    trained = build_network(config, 3, weights=False)
    trained.load_state_dict(state["model"])
    embeddings, _ = inference.run(trained, LogMel(config.audio), loaded.samples[:3], config)
    for row in range(3):
        waveform = decoding.decode((clips / split.clips["audio"][row]).read_bytes())
        np.testing.assert_allclose(pipeline.embed(waveform), embeddings[row], atol=1e-6)


def test_the_linear_head_trains_as_configured(clips: Path, tmp_path: Path) -> None:
    config = small_config(clips, training={"loss_function": "BCE"})
    trainer.train(config, tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert state["model"]["head.weight"].shape[0] == 3
    assert "head.log_scale" not in state["model"]
    row = pd.read_parquet(tmp_path / "validation_predictions.parquet").iloc[0]
    waveform = decoding.decode((clips / row["audio"]).read_bytes())
    probabilities = ScoringPipeline.load(tmp_path / "pipeline").classify(waveform)
    assert probabilities == pytest.approx({name: row[name] for name in probabilities}, abs=1e-5)


def stop_after(epochs: int) -> tuple[Progress, Callable[[], bool]]:
    """A progress and a should_stop that stop a run once so many epochs are checkpointed."""
    seen: list[int] = []
    return (lambda event: seen.append(1) if event["event"] == "epoch" else None), (lambda: len(seen) >= epochs)


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clocked = {"seconds", "crops_a_second", "waited_for_data"}
    return [{key: value for key, value in row.items() if key not in clocked} for row in rows]


def test_a_resumed_run_equals_an_uninterrupted_one(clips: Path, tmp_path: Path) -> None:
    config = small_config(
        clips, architecture={"dropout": 0.2}, augmentation={"mix_audio": "Mixup"}, training={"epochs": 3}
    )
    trainer.train(config, tmp_path / "whole")
    progress, should_stop = stop_after(1)
    with pytest.raises(Stopped):
        trainer.train(config, tmp_path / "cut", progress=progress, should_stop=should_stop)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    trainer.train(config, tmp_path / "cut")
    whole, cut = metrics(tmp_path / "whole"), metrics(tmp_path / "cut")
    assert without_time(cut["epochs"]) == without_time(whole["epochs"])
    assert cut["final"] == whole["final"]


def test_a_random_seed_is_recorded_and_kept_when_resuming(clips: Path, tmp_path: Path) -> None:
    config = small_config(clips, environment={"seed": -1})
    progress, should_stop = stop_after(1)
    with pytest.raises(Stopped):
        trainer.train(config, tmp_path, progress=progress, should_stop=should_stop)
    seed = yaml.safe_load((tmp_path / "config.yaml").read_text())["environment"]["seed"]
    assert seed >= 0
    trainer.train(config, tmp_path)
    assert metrics(tmp_path)["seed"] == seed


def test_the_output_of_another_run_is_not_overwritten(clips: Path, tmp_path: Path, finished: Finished) -> None:
    output, config, _ = finished
    other = config.with_values(training={"learning_rate": 0.01}, environment={"seed": 6})
    with pytest.raises(DataError, match="training.learning_rate, environment.seed") as error:
        trainer.train(other, output)
    assert error.value.code == "output_of_another_run"
    write_clips(tmp_path / "other", clips=8)
    with pytest.raises(DataError, match="other data"):
        trainer.train(config.with_values(dataset={"data_folder": str(tmp_path / "other")}), output)


def test_the_same_data_elsewhere_resumes(finished: Finished, clips: Path, tmp_path: Path) -> None:
    output, config, _ = finished
    moved = tmp_path / "moved"
    moved.symlink_to(clips)
    before = metrics(output)
    trainer.train(config.with_values(dataset={"data_folder": str(moved)}), output)
    assert metrics(output) == before


def test_a_broken_checkpoint_is_named(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.pt").write_bytes(b"half a file")
    with pytest.raises(DataError) as error:
        trainer.train(small_config(clips), tmp_path)
    assert error.value.code == "unreadable_checkpoint"


def test_unreadable_clips_stop_the_run_by_name_unless_skipped(tmp_path: Path) -> None:
    write_clips(tmp_path / "data", clips=5)
    (tmp_path / "data" / "s1" / "3.wav").write_bytes(b"not audio at all")
    (tmp_path / "data" / "s2" / "4.wav").write_bytes(b"")
    config = small_config(tmp_path / "data")
    with pytest.raises(DataError, match=r"s1/3.wav \(not_audio\), s2/4.wav \(empty_audio\)") as error:
        load_clips(config)
    assert error.value.code == "undecodable_audio"
    split, loaded = load_clips(config, skip_unreadable=True)
    assert len(split.clips) == len(loaded.samples) == 13
    assert "s1/3.wav" not in set(split.clips["audio"])


def test_the_clips_own_rate_clamps_the_top_frequency(tmp_path: Path, clips: Path) -> None:
    config = small_config(clips, audio={"sample_rate": 16000, "maximum_frequency": 7000}, training={"epochs": 1})
    trainer.train(config, tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["audio"]["maximum_frequency"] == 4000


# --- one step -------------------------------------------------------------------------------------------------------


def a_run(clips: Path, output: Path, **sections: dict[str, Any]) -> Run:
    # layer norm instead of batch norm: a clip's gradient does not depend on its company
    sections["architecture"] = {"backbone": "convnext_atto"} | sections.get("architecture", {})
    config = small_config(clips, **sections)
    split, loaded = load_clips(config)
    alone = Processes(0, 1, torch.device("cpu"))
    return Run(config, split, loaded, output, alone, lambda event: None, lambda: False, pretrained=False)


def some_batch(count: int = 8) -> Batch:
    random = np.random.default_rng(3)
    samples = torch.from_numpy(random.normal(0, 0.1, (count, 6400)).astype(np.float32))
    return Batch(samples, torch.eye(3)[torch.arange(count) % 3])


def gradient_step(run: Run, batches: list[Batch]) -> tuple[float, torch.Tensor]:
    """The loss, and the weights after one step of plain gradient descent."""
    loss = run.learner.step(batches)
    return loss, torch.cat([parameter.detach().flatten() for parameter in run.learner.network.parameters()])


def test_accumulated_batches_equal_one_big_batch(clips: Path, tmp_path: Path) -> None:
    settings = {"training": {"optimizer": "SGD", "learning_rate": 0.1, "loss_function": "BCE"}}
    batch = some_batch()
    big_loss, big = gradient_step(a_run(clips, tmp_path, **settings), [batch])
    pieces = [Batch(batch.samples[part], batch.targets[part]) for part in (slice(0, 4), slice(4, 6), slice(6, 8))]
    loss, accumulated = gradient_step(a_run(clips, tmp_path, **settings), pieces)
    assert loss == pytest.approx(big_loss, rel=1e-5)
    torch.testing.assert_close(accumulated, big, atol=1e-6, rtol=1e-4)


def test_the_gradient_is_clipped_to_its_norm(clips: Path, tmp_path: Path) -> None:
    settings = {"optimizer": "SGD", "learning_rate": 1.0, "loss_function": "BCE"}
    run = a_run(clips, tmp_path, training=settings | {"gradient_clip": 0.01})
    before = torch.cat([parameter.detach().flatten() for parameter in run.learner.network.parameters()])
    _, after = gradient_step(run, [some_batch()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-2)


def test_a_batch_that_does_not_fit_goes_through_in_halves(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(clips, tmp_path, training={"automatically_adjust_batch_size": True})
    sizes: list[int] = []

    def forward(features: torch.Tensor) -> torch.Tensor:
        sizes.append(len(features))
        if len(features) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run.learner.network(features)

    monkeypatch.setattr(run.learner, "model", forward)
    assert math.isfinite(run.learner.step_within_memory([some_batch()]))
    assert sizes == [8, 4, 2, 2, 2, 2]
    run = a_run(clips, tmp_path)
    monkeypatch.setattr(run.learner, "model", forward)
    with pytest.raises(torch.OutOfMemoryError):
        run.learner.step_within_memory([some_batch()])


def test_the_best_epoch_is_kept_where_asked(clips: Path, tmp_path: Path) -> None:
    run = a_run(clips, tmp_path, training={"save_best_checkpoint": True})
    weight = next(run.learner.network.parameters())
    for epoch, score in enumerate([0.5, 0.9, 0.9, 0.7], start=1):
        weight.data.fill_(epoch)
        run.history.append({"epoch": epoch, "roc_auc": score})
        run.save()
    assert next(run.best_network().parameters()).flatten()[0] == 2


def test_several_processes_share_what_one_would_take(clips: Path) -> None:
    _, loaded = load_clips(small_config(clips))
    rows, labels = np.arange(30), np.arange(30)

    def taken(rank: int, world: int) -> list[list[int]]:
        batches = dataset.epoch_batches(
            rows, loaded, labels, batch_size=8, chunk=800, drop_last=False, random=np.random.default_rng(1),
            rank=rank, world=world,
        )  # fmt: skip
        return [drawn.tolist() for _, drawn, _ in batches]

    shares = zip(taken(0, 2), taken(1, 2), strict=True)
    assert [first + second for first, second in shares] == taken(0, 1)


@pytest.mark.parametrize(("drop", "sizes"), [(True, [8, 8, 8]), (False, [8, 8, 8, 6])])
def test_the_last_batch_is_dropped_where_asked(clips: Path, drop: bool, sizes: list[int]) -> None:
    _, loaded = load_clips(small_config(clips))
    batches = dataset.epoch_batches(
        np.arange(30), loaded, np.zeros(30, dtype=np.int64), batch_size=8, chunk=800, drop_last=drop,
        random=np.random.default_rng(1),
    )  # fmt: skip
    assert [len(crops) for crops, _, _ in batches] == sizes
    assert dataset.batches_an_epoch(30, 8, drop) == len(sizes)


def test_crops_are_stretches_and_short_clips_are_repeated() -> None:
    samples = np.arange(10, dtype=np.int16)
    assert crop(samples, 4, 0.0).tolist() == [0, 1, 2, 3]
    assert crop(samples, 4, 0.999).tolist() == [6, 7, 8, 9]
    assert crop(samples[:3], 7, 0.5).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_opus_has_the_rate_that_its_header_tells() -> None:
    data = encode(voice(0, seconds=0.5), "ogg_opus")
    waveform = decoding.decode(data)
    assert waveform.sample_rate == 48000
    assert dataset.source_rate(data, waveform) == 16000


# --- learning rates -------------------------------------------------------------------------------------------------


def rates(**training: Any) -> list[float]:
    settings = {"epochs": 2, "learning_rate": 1.0, "optimizer": "SGD"} | training
    config = Config().with_values(training=settings).training
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = build_scheduler(optimizer, config, steps_an_epoch=4)
    found = []
    for _ in range(8):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_have_exact_values() -> None:
    assert rates(schedule="Constant") == [1.0] * 8
    assert rates(schedule="Linear") == pytest.approx([1 - step / 8 for step in range(8)])
    assert rates(schedule="Cosine") == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_warm_up_takes_fractions_of_an_epoch() -> None:
    warm = rates(schedule="Cosine", warmup_epochs=0.5)
    assert warm[:2] == [0.5, 1.0]
    assert warm[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)])
    assert factor(7, steps=8, warmup_steps=8, schedule="Linear") == 1.0


def test_a_gpu_that_is_not_there_is_told(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    processes = Processes.start(small_config(clips, environment={"gpus": ["0"]}))
    assert processes.device.type == "cpu"
    assert "training on the CPU" in caplog.text


def test_a_batch_must_divide_among_the_processes(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="training.batch_size"):
        Processes.start(small_config(clips))
