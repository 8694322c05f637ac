from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mltraining.speech.evaluation import charts
from mltraining.speech.features.log_mel import LogMel
from mltraining.speech.network import SpeakerNetwork, build_network
from tests.support.audio import voice
from tests.support.model import small_config

Small = tuple[SpeakerNetwork, LogMel]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def drawn(path: Path) -> bool:
    pixels = picture(path)
    return min(pixels.shape) > 300 and pixels.std() > 5


@pytest.mark.parametrize("classes", [2, 50, 150])
def test_the_charts_of_a_run_are_drawn_for_few_and_for_many_classes(classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    truth = np.repeat(np.arange(classes), 4)
    probabilities = random.uniform(0, 0.6, (len(truth), classes))
    probabilities[np.arange(len(truth)), truth] += random.uniform(0.2, 0.4, len(truth))
    own = truth[:, None] == np.arange(classes)
    history = [{"epoch": number, "train_loss": 1 / number, "validation_loss": 1.1 / number} for number in range(1, 6)]
    charts.write_charts(
        tmp_path,
        history=history,
        truth=truth,
        probabilities=probabilities,
        classes=[f"speaker {number}" for number in range(classes)],
        target_scores=probabilities[own],
        impostor_scores=probabilities[~own],
    )
    drawings = sorted((tmp_path / "charts").iterdir())
    assert [path.name for path in drawings] == ["confusion_matrix.png", "losses.png", "roc.png", "score_histogram.png"]
    assert all(drawn(path) for path in drawings)


def test_charts_of_a_run_without_an_evaluation_and_of_perfect_scores_are_drawn(tmp_path: Path) -> None:
    charts.write_charts(
        tmp_path,
        history=[{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4, "validation_loss": None}],
        truth=np.array([0, 1]),
        probabilities=np.eye(2),
        classes=["a", "b"],
        target_scores=np.ones(2),
        impostor_scores=np.zeros(2),
    )
    assert all(drawn(path) for path in (tmp_path / "charts").iterdir())


def test_predictions_are_the_same_table_in_both_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"audio": ["ä.wav", "b.wav"], "class": ["x", "y"], "x": [0.75, 0.25], "y": [0.1, 0.9]})
    charts.write_predictions(tmp_path, frame)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "validation_predictions.csv"), frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "validation_predictions.parquet"), frame)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    config = small_config(tmp_path_factory.mktemp("data"))
    torch.manual_seed(1)
    return build_network(config, 2), LogMel(config.audio)


def test_a_picture_a_clip_shows_what_decided(small: Small, tmp_path: Path) -> None:
    network, features = small
    network.train()
    samples = voice(1, seconds=1.5, sample_rate=8_000)
    clips = [("a/../b c.wav", samples, 0, 0.93), ("x/clip.ogg", np.tile(samples, 8), 1, 0.02)]
    charts.write_interpretations(tmp_path, network=network, features=features, clips=clips, classes=["ada", "ben"])
    pictures = sorted((tmp_path / "interpretations").iterdir())
    assert [path.name for path in pictures] == ["01-a-b-c.png", "02-x-clip.png"]
    assert all(drawn(path) for path in pictures)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_evidence_is_found_where_it_is() -> None:
    """A network that listens to one band only: nothing else may be named, and the sum is the logit's rise."""

    class OneBand(torch.nn.Module):
        def forward(self, logmel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return logmel[:, 0, 20:25].sum(dim=(1, 2))[:, None], logmel

    logmel = torch.rand(1, 1, 40, 60)
    evidence = charts.integrated_gradients(cast(SpeakerNetwork, OneBand()), logmel, 0)
    reach = charts.SMOOTHING[0] // 2
    assert evidence.shape == (40, 60)
    assert np.abs(evidence[: 20 - reach]).max() == 0
    assert np.abs(evidence[25 + reach :]).max() == 0
    rise = (logmel - logmel.quantile(0.1, dim=3, keepdim=True))[0, 0, 20:25].sum()
    assert evidence.sum() == pytest.approx(float(rise), rel=0.03)
