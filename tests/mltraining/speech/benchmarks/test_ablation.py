"""One piece of a recipe taken out at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from mltraining.speech import cli, config
from mltraining.speech.benchmarks import ablation
from mltraining.speech.config import Config
from mltraining.speech.evaluation.conditions import RECORDED, load_audio
from mltraining.speech.evaluation.trials import TrialList
from tests.support.model import export_untrained, small_config
from tests.support.training_data import write_clips, write_trials

RECIPES = Path(__file__).parents[4] / "mltraining" / "recipes"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def differing(one: Config, other: Config) -> set[str]:
    before, after = one.to_dict(), other.to_dict()
    return {
        f"{section}.{key}"
        for section, values in before.items()
        if isinstance(values, dict)
        for key in values
        if values[key] != after[section][key]
    }


def test_each_variant_lacks_one_piece_that_the_recipe_has_or_has_one_that_it_lacks() -> None:
    recipe = config.load_config(RECIPES / "telephone.yaml")
    found = ablation.variants(recipe)
    assert next(iter(found)) == ablation.RECIPE and found[ablation.RECIPE] is recipe
    changed = {name: differing(recipe, each) for name, each in found.items()}
    assert changed["without noise"] == {"augmentation.noise_probability"}
    assert changed["with other speeds"] == {"augmentation.speeds"}
    assert changed["with SpecAugment"] == {"augmentation.frequency_mask_rows", "augmentation.time_mask_frames"}
    assert changed["with SphereFace2 instead"] == changed["with CosineBCE instead"] == {"training.loss_function"}
    assert all(changes for name, changes in changed.items() if name != ablation.RECIPE)
    assert len(found) == 1 + len(ablation.PIECES) + len(ablation.LOSSES) - 1


def test_pieces_that_a_recipe_does_not_allow_are_left_out() -> None:
    names = ablation.variants(config.load_config(RECIPES / "speaker_recognition.yaml"))
    assert "with averaged weights" in names
    assert not {"with noise", "with other speeds", "with the prototypical loss"} & set(names)  # it draws no crops


def test_a_variant_is_compared_with_the_recipe_and_not_trained_twice(tmp_path: Path) -> None:
    files = write_trials(tmp_path / "trials", speakers=3, seconds=1.2)
    audio = load_audio(TrialList.read(files / "enrollment.csv", files / "trials.csv", files / "audio"))
    chosen = dict.fromkeys(["the recipe", "without a margin"], config.load_config(RECIPES / "telephone.yaml"))
    trained: list[str] = []

    def train(_: Config, folder: Path) -> None:
        export_untrained(folder / "pipeline", seed=len(trained))
        trained.append(folder.name)

    def lines() -> list[ablation.Line]:
        return list(ablation.ablate(chosen, audio, [RECORDED], [], tmp_path / "runs", train))

    recipe, variant = lines()
    assert trained == ["the-recipe", "without-a-margin"]
    assert recipe.differences == {}
    change = variant.differences["recorded"]
    value, low, high = change.value, change.low, change.high
    assert value == pytest.approx(variant.equal_error_rates["recorded"] - recipe.equal_error_rates["recorded"])
    assert low <= value <= high
    assert lines() == [recipe, variant] and len(trained) == 2
    heading, _, first, second = ablation.table([recipe, variant], [RECORDED]).splitlines()
    assert heading == "| variant | EER, as recorded, 8 kHz |"
    assert first == f"| the recipe | {100 * recipe.equal_error_rates['recorded']:.2f} |"
    assert f", {100 * value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}) |" in second


def test_the_command_trains_what_is_named_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clips(tmp_path / "clips", clips=5)
    files = write_trials(tmp_path / "trials", speakers=2, takes=1, seconds=1.2)
    training = {"crops_an_epoch": 8, "crops_a_speaker": 2, "epochs": 1, "loss_function": "AAMSoftmax"}
    recipe = small_config(tmp_path / "clips", training=training, environment={"seed": -1})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.to_dict()), encoding="utf-8")
    command = ["ablate", "--config", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "out")]
    command += ["--enrollment", str(files / "enrollment.csv"), "--trials", str(files / "trials.csv")]
    command += ["--audio-root", str(files / "audio")]
    assert cli.main([*command, "--only", "averaged weights"]) == cli.DONE
    written = (tmp_path / "out" / "ablation.md").read_text()
    assert "| the recipe |" in written and "| with averaged weights |" in written and written.count("\n") == 4
    assert capsys.readouterr().out == written
    assert cli.main([*command, "--set", "training.margin=2"]) == cli.REFUSED
    assert "training.margin" in capsys.readouterr().err
