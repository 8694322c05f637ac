"""A small network learns from a small teacher, from its folder and from the file that the folder left."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mltraining.speech.config import Config, ConfigError
from mltraining.speech.scoring.pipeline import ScoringPipeline
from mltraining.speech.training import checkpoints, teachers, teaching, trainer
from mltraining.speech.training.manifest import DataError
from mltraining.speech.training.processes import Processes
from mltraining.speech.training.run import Run
from mltraining.speech.training.teaching import Lessons
from tests.support.model import small_config
from tests.support.training_data import load_clips

DIMENSIONS = 8


@pytest.fixture(scope="module")
def teacher(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained pipeline, in a folder that a test may take away."""
    output = tmp_path_factory.mktemp("teacher")
    settings = small_config(clips).with_values(
        training={"loss_function": "CosineBCE", "epochs": 2}, architecture={"embedding_dimensions": DIMENSIONS}
    )
    trainer.train(settings, output)
    return output / "pipeline"


@pytest.fixture
def speech(clips: Path, tmp_path: Path) -> Path:
    """The clips in a folder of the test's own, because the file of the teachers is left beside the table."""
    return Path(shutil.copytree(clips, tmp_path / "speech"))


@pytest.fixture(autouse=True)
def _short_clips_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' clips are shorter than what counts in real training."""
    monkeypatch.setattr(teaching, "SHORTEST_CLIP", 0.2)


def taught(speech: Path, teacher: Path) -> Config:
    return small_config(speech).with_values(
        architecture={"embedding_dimensions": DIMENSIONS},
        augmentation={"speeds": [0.9]},
        training={
            "crops_an_epoch": 24,
            "epochs": 2,
            "label_weight": 0.1,
            "loss_function": "AAMSoftmax",
            "prediction_weight": 5.0,
            "relation_weight": 1.0,
            "teachers": [str(teacher)],
        },
    )


def heard(config: Config) -> Lessons:
    split, clips = load_clips(config, seed=0)
    return teachers.lessons(config, split, clips, lambda share: None)


def test_a_clip_is_taught_as_its_teacher_embeds_it_at_every_speed(speech: Path, teacher: Path) -> None:
    config = taught(speech, teacher)
    lessons = heard(config)
    split, _ = load_clips(config, seed=0)
    assert lessons.clips.shape == (2, len(split.clips), DIMENSIONS)
    assert lessons.speakers.shape == (2, len(split.classes), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(lessons.clips, axis=2), 1, rtol=1e-5)
    table = pd.read_parquet(teachers.file_of(config))
    assert set(table["teacher"]) == {ScoringPipeline.load(teacher).fingerprint}
    assert sorted(table["speed"].unique()) == [0.9, 1.0]
    assert not np.allclose(lessons.clips[0], lessons.clips[1], atol=1e-3)  # another speed is another voice


def test_a_clip_that_is_too_short_to_count_is_not_embedded_but_its_speaker_is(
    speech: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "SHORTEST_CLIP", 60.0)
    config = taught(speech, teacher)
    lessons = heard(config)
    assert not lessons.clips.any()
    np.testing.assert_allclose(np.linalg.norm(lessons.speakers, axis=2), 1, rtol=1e-5)
    assert pd.read_parquet(teachers.file_of(config))["audio"].isna().all()


def test_narrow_band_recordings_have_a_centre_of_their_own(speech: Path, teacher: Path) -> None:
    """What the missing band adds to all of them is taken away, and is not seen in what is taught."""
    config = taught(speech, teacher)
    heard(config)
    file = teachers.file_of(config)
    table = pd.read_parquet(file)
    narrow = table["speaker"].isin(sorted(table["speaker"].unique())[:2])
    table["rate"] = np.where(narrow, 8_000, 16_000)
    table.to_parquet(file, index=False)
    before = heard(config)
    table.loc[narrow, "vector"] = table.loc[narrow, "vector"].map(lambda vector: vector + np.float16(0.5))
    table.to_parquet(file, index=False)
    np.testing.assert_allclose(heard(config).clips, before.clips, atol=0.01)


def test_the_file_is_enough_where_the_teacher_is_not_at_hand(speech: Path, teacher: Path, tmp_path: Path) -> None:
    first = heard(taught(speech, teacher))
    again = heard(taught(speech, tmp_path / "left at home"))
    np.testing.assert_array_equal(first.clips, again.clips)
    np.testing.assert_array_equal(first.speakers, again.speakers)


def test_what_the_file_has_is_not_computed_again(speech: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(taught(speech, teacher))
    monkeypatch.setattr(ScoringPipeline, "embed", lambda self, waveform: pytest.fail("embedded again"))
    heard(taught(speech, teacher))


def test_without_teacher_and_file_and_with_other_clips_it_is_refused(
    speech: Path, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"training\.teachers"):
        heard(taught(speech, tmp_path / "nowhere"))
    config = taught(speech, teacher)
    heard(config)
    file = teachers.file_of(config)
    pd.read_parquet(file).iloc[5:].to_parquet(file, index=False)
    with pytest.raises(DataError) as refused:
        heard(taught(speech, tmp_path / "nowhere"))
    assert refused.value.code == "missing_lessons"


def test_the_network_has_as_many_dimensions_as_the_teachers(speech: Path, teacher: Path) -> None:
    config = taught(speech, teacher).with_values(architecture={"embedding_dimensions": DIMENSIONS + 1})
    with pytest.raises(ConfigError, match=f"must be {DIMENSIONS}"):
        heard(config)


def test_the_network_learns_what_the_teacher_says(speech: Path, teacher: Path, tmp_path: Path) -> None:
    """The teacher's part is all of the loss here, so a falling loss is a network that predicts it better."""
    config = taught(speech, teacher).with_values(
        training={"epochs": 8, "learning_rate": 0.01, "label_weight": 0.0, "prediction_weight": 1.0}
    )
    trainer.train(config, tmp_path / "run")
    state = checkpoints.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert state is not None
    losses = [row["train_loss"] for row in state["history"]]
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_an_earlier_encoder_gets_used_to_what_it_hears_now(speech: Path, teacher: Path, tmp_path: Path) -> None:
    """Its embeddings point elsewhere on average; the lessons are centred, and so is it after settling."""
    config = taught(speech, teacher).with_values(
        architecture={"pretrained": True, "weights_file": str(teacher / "encoder.safetensors")}
    )
    split, clips = load_clips(config, seed=0)
    lessons = teachers.lessons(config, split, clips, lambda share: None)
    alone = Processes(0, 1, torch.device("cpu"))
    run = Run(
        config, split, clips, tmp_path, alone, lambda event: None, lambda: False, pretrained=True, lessons=lessons
    )
    assert run.crops is not None
    length = round(config.audio.training_chunk_seconds * config.audio.sample_rate)
    drawn = [run.crops.draw(length, [1], number) for number in range(200)]
    heard = run.features(torch.from_numpy(np.stack([crop for crop, _, _ in drawn])))
    targets = np.stack([lesson for _, _, lesson in drawn if lesson is not None])
    with torch.no_grad():
        pooled = run.learner.network.eval().pooled(heard).numpy()
    assert np.linalg.norm(pooled.mean(axis=0)) < 0.5 * np.linalg.norm(pooled, axis=1).mean()
    cosines = teaching.unit(pooled) @ targets.T
    assert np.diag(cosines).mean() > cosines.mean() + 0.25
