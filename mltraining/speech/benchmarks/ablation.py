"""The ``ablate`` command: what each piece of a recipe gives, by the same training with one piece taken out at a time.

``python -m mltraining.speech ablate --config RECIPE --speech DIR --output DIR`` trains every variant into a folder of
its own (one that is there already is not trained again), scores the trials, and writes ``ablation.md``: equal error
rates, and how each differs from the recipe's, with the interval of a paired bootstrap over speakers.
``--set training.epochs=2`` and the like make it short; all variants share them.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mltraining.speech.audio import noise
from mltraining.speech.audio.errors import AudioError
from mltraining.speech.config import Config, ConfigError, load_config
from mltraining.speech.evaluation.comparison import Change, compare
from mltraining.speech.evaluation.conditions import (
    Condition,
    ConditionScores,
    TrialAudio,
    chosen_conditions,
    load_audio,
    score_in_conditions,
)
from mltraining.speech.evaluation.trials import (
    EvaluationError,
    TrialList,
    add_speech_arguments,
    take_from_speech_folder,
)
from mltraining.speech.scoring.pipeline import PipelineError, ScoringPipeline
from mltraining.speech.training import trainer
from mltraining.speech.training.manifest import DataError

DONE, REFUSED = 0, 2
RECIPE = "the recipe"
LOSSES = ("AAMSoftmax", "SphereFace2", "CosineBCE")
CONDITIONS = ("recorded", "g711", "g711-10db")
SPEECH = ("enrollment", "trials", "audio_root", "noise")

Train = Callable[[Config, Path], object]


@dataclass(frozen=True)
class Piece:
    """Settings of one section that take a piece out, and those that put it in where the recipe does without it."""

    name: str
    section: str
    out: dict[str, Any]
    into: dict[str, Any]


PIECES = (
    Piece("a margin", "training", {"margin": 0.0, "large_margin_epochs": 0}, {"margin": 0.2}),
    Piece("the margin's slow rise", "training", {"margin_warmup_epochs": 0.0}, {"margin_warmup_epochs": 1.0}),
    Piece("large-margin epochs", "training", {"large_margin_epochs": 0}, {"large_margin_epochs": 1}),
    Piece("the prototypical loss", "training", {"prototypical_weight": 0.0}, {"prototypical_weight": 1.0}),
    Piece("balance over speakers", "training", {"speaker_balance": 0.0}, {"speaker_balance": 0.5}),
    Piece("averaged weights", "training", {"ema_decay": 0.0}, {"ema_decay": 0.99}),
    Piece("other speeds", "augmentation", {"speeds": ()}, {"speeds": (0.9, 1.1)}),
    Piece("noise", "augmentation", {"noise_probability": 0.0}, {"noise_probability": 0.3}),
    Piece("rooms", "augmentation", {"room_probability": 0.0}, {"room_probability": 0.2}),
    Piece("the telephone", "augmentation", {"channel_probability": 0.0}, {"channel_probability": 0.5}),
    Piece(
        "SpecAugment",
        "augmentation",
        {"frequency_mask_rows": 0, "time_mask_frames": 0},
        {"frequency_mask_rows": 6, "time_mask_frames": 10},
    ),
    Piece("speech-only crops", "audio", {"speech_only": False}, {"speech_only": True}),
)


@dataclass(frozen=True)
class Line:
    """One variant: equal error rates by condition, and how they differ from the recipe's (nothing for itself)."""

    variant: str
    equal_error_rates: dict[str, float]
    differences: dict[str, Change]


def variants(config: Config) -> dict[str, Config]:
    """The recipe first, then it without each piece that it has, with each that it lacks, and under the other losses.

    A piece that the recipe's other settings do not allow is left out.
    """
    found = {RECIPE: config}
    for piece in PIECES:
        settings = getattr(config, piece.section)
        has = any(getattr(settings, key) != value for key, value in piece.out.items())
        try:
            changed = config.with_values(**{piece.section: piece.out if has else piece.into})
        except ConfigError:
            continue
        found[f"{'without' if has else 'with'} {piece.name}"] = changed
    for loss in LOSSES:
        if loss != config.training.loss_function:
            found[f"with {loss} instead"] = config.with_values(training={"loss_function": loss})
    return found


def ablate(
    chosen: dict[str, Config],
    audio: TrialAudio,
    conditions: Sequence[Condition],
    noises: Sequence[np.ndarray],
    output: Path,
    train: Train,
) -> Iterator[Line]:
    """A line a variant, as it is done; the first of ``chosen`` is what the others are compared with."""
    reference: list[ConditionScores] | None = None
    for name, config in chosen.items():
        folder = output / re.sub(r"\W+", "-", name)
        if not (folder / "pipeline").is_dir():
            train(config, folder)
        heard = score_in_conditions(ScoringPipeline.load(folder / "pipeline"), audio, conditions, noises)
        verdict = compare(audio, reference or heard, heard)
        rates = {each.slice: each for each in verdict.differences if each.figure == "eer"}
        changes = {each.slice: each.change for each in rates.values()}
        yield Line(name, {part: each.challenger for part, each in rates.items()}, changes if reference else {})
        reference = reference or heard


def table(lines: Sequence[Line], conditions: Sequence[Condition]) -> str:
    """Markdown; rates in %, differences in points."""
    rows = [["variant", *(f"EER, {each.label}" for each in conditions)], ["---", *["---:"] * len(conditions)]]
    rows += [[line.variant, *_cells(line, conditions)] for line in lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _cells(line: Line, conditions: Sequence[Condition]) -> Iterator[str]:
    for each in conditions:
        rate = line.equal_error_rates.get(each.name)
        if rate is None:
            yield "–"
        elif each.name in line.differences:
            change = line.differences[each.name]
            interval = f"({100 * change.low:+.2f} to {100 * change.high:+.2f})"
            yield f"{100 * rate:.2f}, {100 * change.value:+.2f} {interval}"
        else:
            yield f"{100 * rate:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 where the configuration, the speech or the trials are refused."""
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech ablate", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="the recipe")
    parser.add_argument("--data-folder", help="instead of dataset.data_folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override; repeatable")
    add_speech_arguments(parser, *SPEECH)
    parser.add_argument("--output", required=True, type=Path, help="a folder a variant, and ablation.md")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="variants whose name holds one of these, and the recipe"
    )
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, options.set)
        if options.speech is not None:
            config = config.with_speech(options.speech)
        if options.data_folder is not None:
            config = config.with_values(dataset={"data_folder": options.data_folder})
        chosen = {
            name: each
            for name, each in variants(_measured_alone(config)).items()
            if name == RECIPE or options.only is None or any(word in name for word in options.only)
        }
        take_from_speech_folder(options, *SPEECH)
        audio = load_audio(TrialList.read(options.enrollment, options.trials, options.audio_root))
        noises = noise.load(options.noise, "evaluation") if options.noise else []
        conditions = chosen_conditions(CONDITIONS, noisy=bool(noises))
        lines = []
        with _Bar() as bar:
            for line in ablate(chosen, audio, conditions, noises, options.output, bar.train):
                lines.append(line)
                (options.output / "ablation.md").write_text(table(lines, conditions), encoding="utf-8")
    except (ConfigError, DataError, EvaluationError, PipelineError, AudioError, OSError) as error:
        sys.stderr.write(f"error: {getattr(error, 'code', 'unreadable_file')}: {error}\n")
        return REFUSED
    sys.stdout.write(table(lines, conditions))
    return DONE


def _measured_alone(config: Config) -> Config:
    """Without what a variant's own run would leave that nobody looks at, and of one seed."""
    return config.with_values(
        environment={"seed": max(0, config.environment.seed)},
        training={"build_onnx": False, "run_interpretations": False, "evaluation_epochs": config.training.epochs},
        logging={"number_of_audios": 0},
    )


class _Bar:
    """A bar over the variant that is trained. Speech that two of them share is decoded once."""

    def __init__(self) -> None:
        self._bar = tqdm(total=100, unit="%", file=sys.stderr)
        self._decoded: dict[str, trainer.Decoded] = {}

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def train(self, config: Config, folder: Path) -> None:
        self._bar.reset(100)
        self._bar.set_description(folder.name)
        audio, dataset = config.to_dict()["audio"], config.to_dict()["dataset"]
        speech = json.dumps([dataset, audio["sample_rate"], audio["speech_only"], config.environment.seed])
        if speech not in self._decoded:
            self._decoded = {speech: trainer.decode(config, seed=config.environment.seed)}
        trainer.train(config, folder, progress=self._moved, decoded=self._decoded[speech])

    def _moved(self, event: dict[str, Any]) -> None:
        self._bar.update(event.get("percent", 100.0) - self._bar.n)
