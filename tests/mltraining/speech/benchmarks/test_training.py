"""What benchmark-training reports of a tiny network."""

from pathlib import Path

import pytest
import torch

from mltraining.speech import cli, config
from mltraining.speech.benchmarks import training as training_benchmark

RECIPE = Path(__file__).parents[4] / "mltraining" / "recipes" / "telephone.yaml"
TINY = [
    "architecture.backbone=resnet10t",
    "audio.training_chunk_seconds=0.5",
    "augmentation.noise_folder=null",
    "training.batch_size=4",
]


def test_the_share_is_of_the_operations_that_a_plain_product_attains() -> None:
    found = training_benchmark.Measured(trained=50, prepared=400, operations_a_crop=6e9, attainable=1e12)
    assert found.share == pytest.approx(0.3)


def test_longer_crops_cost_more_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training_benchmark.MATRIX, "cpu", 64)
    short, long = (
        training_benchmark.measure(
            config.load_config(RECIPE, [*TINY, f"audio.training_chunk_seconds={seconds}"]),
            torch.device("cpu"),
            seconds=0,
            classes=8,
        )
        for seconds in (0.5, 1.0)
    )
    assert 1.5 < long.operations_a_crop / short.operations_a_crop < 2.5
    assert min(short.trained, short.prepared, short.attainable, short.share) > 0


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training_benchmark.MATRIX, "cpu", 64)
    overrides = [part for each in TINY for part in ("--set", each)]
    assert cli.main(["benchmark-training", "--config", str(RECIPE), "--seconds", "0", *overrides]) == cli.DONE
    assert "resnet10t, 4 crops of 0.5 s a batch" in capsys.readouterr().out


def test_a_setting_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark-training", "--config", str(RECIPE), "--set", "training.crops=1"]) == cli.REFUSED
    assert "training.crops" in capsys.readouterr().err
