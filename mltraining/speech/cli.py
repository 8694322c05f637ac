"""``python -m mltraining.speech``: the library from a terminal or from another process.

Exit codes: 0 done; 1 a bug; 2 the configuration or the data was refused, with a stable code; 3 stopped, and the same
command goes on.
"""

import argparse
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from mltraining.speech.config import ConfigError, load_config

logger = logging.getLogger(__name__)

DONE, BUG, REFUSED, STOPPED = 0, 1, 2, 3
STEP_SECONDS = 1.0  # between two "step" events

COMMANDS = {  # besides train: the module whose main() takes the arguments, and what it is for
    "import-encoder": ("scoring.importing", "make a scoring pipeline of an ONNX encoder from elsewhere"),
    "score": ("scoring.score", "score audio files with a scoring pipeline"),
    "calibrate": ("evaluation.recalibration", "fit a pipeline's calibration and threshold anew, on trials"),
    "export-onnx": ("training.export_onnx", "build a pipeline's ONNX exports and measure them"),
    "evaluate": ("evaluation.evaluate", "error rates on trials, by channel, duration, noise and group"),
    "evaluate-corpora": ("evaluation.corpora", "how a calibration holds on speech and lines that it was not fitted on"),
    "evaluate-sessions": ("evaluation.sessions", "what further sessions in a voiceprint are worth"),
    "ablate": ("benchmarks.ablation", "what each piece of a recipe is worth: the same training without it"),
    "benchmark-gate": ("benchmarks.gate", "whom the limits of the enrollment gate would refuse"),
    "benchmark-replay": ("benchmarks.replay", "what replay detection catches, mistakes and costs"),
    "benchmark-training": ("benchmarks.training", "how close training comes to what the device can do"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s", force=True)
    for noisy in ("httpx", "httpcore", "huggingface_hub", "timm", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Where other processes share the cores, OpenMP's spinning threads starve each other: 7 times the CPU time was seen.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported, which is later
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] and arguments[0] in COMMANDS:
        module = importlib.import_module(f"mltraining.speech.{COMMANDS[arguments[0]][0]}")  # torch takes seconds
        result: int = module.main(arguments[1:])
        return result
    return _train(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mltraining.speech", description="Speaker recognition.")
    commands = parser.add_subparsers(required=True)
    for name, (_, described) in COMMANDS.items():
        commands.add_parser(name, help=described, add_help=False)
    train = commands.add_parser("train", help="train, evaluate, calibrate and export a scoring pipeline")
    train.add_argument("--config", required=True, type=Path, help="the training YAML")
    train.add_argument("--speech", type=Path, metavar="DIR", help="a folder of speech, see docs/speech-format.md")
    train.add_argument("--data-folder", help="instead of dataset.data_folder")
    train.add_argument("--train-dataframe", help="instead of dataset.train_dataframe; here or in the data folder")
    train.add_argument("--output", type=Path, help="folder for all results; a run found in it is resumed")
    train.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override; repeatable")
    train.add_argument("--dry-run", action="store_true", help="print the resolved configuration and stop")
    train.add_argument("--progress", choices=["terminal", "json"], default="terminal")
    return parser


def _train(options: argparse.Namespace) -> int:
    reporter = _reporter(options.progress)
    try:
        config = load_config(options.config, options.set)
        if options.speech is not None:
            config = config.with_speech(options.speech)
        named = {"data_folder": options.data_folder, "train_dataframe": options.train_dataframe}
        config = config.with_values(dataset={key: value for key, value in named.items() if value is not None})
        if options.dry_run:
            print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
            return DONE
        if options.output is None:
            raise ConfigError("--output: is missing. Name a folder for the results.")
    except ConfigError as error:
        return reporter.refuse(error.code, str(error))
    if options.progress == "json":
        _die_with_parent()
    stop = _stop_on_signals()

    from mltraining.speech.training import (  # torch takes seconds to import; a refused key should not
        manifest,
        run,
        trainer,
    )

    try:
        trainer.train(config, options.output, progress=reporter, should_stop=stop.is_set)
    except ConfigError as error:
        return reporter.refuse(error.code, str(error))
    except manifest.DataError as error:
        return reporter.refuse(error.code, error.message)
    except OSError as error:  # a full disk, a folder that is not ours
        return reporter.refuse("storage_failed", str(error))
    except run.Stopped:
        reporter(
            {
                "event": "error",
                "code": "stopped",
                "message": "The run was stopped. The same command goes on after its last whole epoch.",
            }
        )
        return STOPPED
    except Exception as error:
        logger.exception("the run failed")
        reporter({"event": "error", "code": "internal_error", "message": type(error).__name__})
        return BUG
    finally:
        reporter.close()
    return DONE


class _Reporter:
    """Receives the events of a run. Of several processes only the first reports."""

    silent = int(os.environ.get("RANK", 0)) != 0

    def __call__(self, event: dict[str, Any]) -> None:
        raise NotImplementedError

    def refuse(self, code: str, message: str) -> int:
        self({"event": "error", "code": code, "message": message})
        self.close()
        return REFUSED

    def close(self) -> None:
        pass


class _JsonReporter(_Reporter):
    """Writes one JSON object on each line of stdout; "step" events at most once a second."""

    def __init__(self) -> None:
        self._next_step = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            now = time.monotonic()
            if now < self._next_step:
                return
            self._next_step = now + STEP_SECONDS
        if not self.silent:
            print(json.dumps(event), flush=True)


class _TerminalReporter(_Reporter):
    """Shows a bar for the whole run, and prints a line for each epoch."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if self.silent:
            return
        if event["event"] == "error":
            self.close()
            print(f"error: {event['code']}: {event['message']}", file=sys.stderr)
            return
        if self._bar is None:
            self._bar = tqdm(
                total=100, bar_format="{desc:<24}|{bar}| {n:3.0f}% {elapsed}{postfix}", disable=not sys.stderr.isatty()
            )
        epoch = f" {event['epoch']}/{event['epochs']}" if "epoch" in event else ""
        self._bar.set_description_str(f"{event['phase']}{epoch}", refresh=False)
        if event["event"] == "step" and "metrics" in event:
            self._bar.set_postfix_str(f"loss {event['metrics']['train_loss']:.4f}", refresh=False)
        self._bar.n = event["percent"]
        self._bar.refresh()
        if event["event"] in ("epoch", "done"):
            numbers = {key: value for key, value in event["metrics"].items() if isinstance(value, int | float)}
            with self._bar.external_write_mode():
                print("  ".join(f"{key} {value:.4g}" for key, value in numbers.items()), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _reporter(kind: str) -> _Reporter:
    return _JsonReporter() if kind == "json" else _TerminalReporter()


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set. A second signal ends the process at once."""
    stop = threading.Event()

    def handle(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _die_with_parent() -> None:
    """End this process when the one that follows its progress is gone (under torchrun: the one above its agent)."""
    ancestors = _ancestors()

    def watch() -> None:
        while _ancestors() == ancestors:
            time.sleep(1)
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def _ancestors() -> tuple[int, ...]:
    parent = os.getppid()
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return (parent,)
    try:
        text = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc: the agent alone is watched
        return (parent,)
    return parent, int(text.rpartition(")")[2].split()[1])
