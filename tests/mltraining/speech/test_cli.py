import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from mltraining.speech import cli
from tests.support.model import small_config
from tests.support.training_data import write_clips
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "mltraining" / "recipes" / "speaker_recognition.yaml"
DEADLINE = 120  # seconds
EPOCHS = 8  # more than are trained until the signal arrives


@pytest.fixture
def run_files(tmp_path: Path) -> Path:
    """A folder with clips, and a config.yaml of some epochs on them."""
    write_clips(tmp_path / "data", clips=5)
    config = small_config(tmp_path / "data", training={"epochs": EPOCHS})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    return tmp_path


def command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "mltraining.speech", "train", "--config", str(folder / "config.yaml"),
        "--output", str(folder / "out"), "--progress", "json", *more,
    ]  # fmt: skip


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *more), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def events_until(process: subprocess.Popen[str], wanted: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == wanted:
            return event
    raise AssertionError(f"the process ended without an event {wanted!r}")


def test_a_run_that_is_stopped_goes_on_from_its_checkpoint(run_files: Path) -> None:
    """One that is killed does so too: ``tests/retraining/test_retraining.py`` kills it with its worker."""
    process = start(run_files)
    first = events_until(process, "epoch")
    process.send_signal(signal.SIGTERM)
    assert events_until(process, "error")["code"] == "stopped"
    assert process.wait(DEADLINE) == cli.STOPPED
    process = start(run_files)
    assert events_until(process, "epoch")["epoch"] > first["epoch"]
    done = events_until(process, "done")
    assert process.wait(DEADLINE) == cli.DONE
    assert done["percent"] == 100
    epochs = json.loads((run_files / "out" / "metrics.json").read_text())["epochs"]
    assert [row["epoch"] for row in epochs] == list(range(1, EPOCHS + 1))


def test_a_run_ends_when_its_parent_is_gone(run_files: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import subprocess, sys\n"
            "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
            "print(child.pid, flush=True)\n"
            "child.wait()",
            *command(run_files, "--set", "training.epochs=100000"),
        ],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    child = os.pidfd_open(number)
    until(lambda: psutil.Process(number).num_threads() > 1)  # the first thread besides its own watches its parent
    parent.kill()
    parent.wait(DEADLINE)
    assert select.select([child], [], [], DEADLINE)[0] == [child]  # readable once the process has ended
    os.close(child)


def test_dry_run_prints_the_resolved_configuration_and_leaves_nothing(
    run_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--config", str(RECIPE), "--dry-run", "--output", str(run_files / "out")]
    arguments += ["--data-folder", "some folder: here", "--set", "audio.training_chunk_seconds=3"]
    assert cli.main(arguments) == cli.DONE
    resolved = yaml.safe_load(capsys.readouterr().out)
    assert resolved["audio"]["training_chunk_seconds"] == 3
    assert resolved["dataset"]["data_folder"] == "some folder: here"
    assert resolved["training"]["optimizer"] == "AdamW"
    assert not (run_files / "out").exists()


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        (["--set", "training.epoch=3"], "invalid_configuration", "training.epoch"),
        (["--set", "training.epochs=many"], "invalid_configuration", "training.epochs"),
        (["--set", "logging.logger=Neptune"], "invalid_configuration", "logging.logger"),
        (["--set", "architecture.backbone=mine"], "invalid_configuration", "architecture.backbone"),
        (["--train-dataframe", "absent.pq"], "dataframe_not_found", "absent.pq"),
        (["--set", "dataset.folds=[9]"], "unknown_fold", "9"),
    ],
)
def test_what_cannot_be_run_ends_with_its_code_on_the_last_line(
    run_files: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: str, named: str
) -> None:
    arguments = command(run_files, *more)[3:]
    assert cli.main(arguments) == cli.REFUSED
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "error"
    assert last["code"] == code
    assert named in last["message"]


def test_on_the_terminal_a_refusal_is_one_line(run_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(run_files, "--set", "training.epoch=3", "--progress", "terminal")[3:]
    assert cli.main(arguments) == cli.REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("error: invalid_configuration: training.epoch")


def test_step_events_come_at_most_once_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: now[0])
    reporter = cli._JsonReporter()
    for now[0] in (100.0, 100.5, 101.0, 101.9, 102.5):
        reporter({"event": "step", "percent": now[0]})
    reporter({"event": "epoch", "percent": 0})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["percent"] for line in lines] == [100.0, 101.0, 102.5, 0]


def test_two_processes_train_together_with_the_loss_curve_of_one_with_the_same_batches(run_files: Path) -> None:
    """A network without batch statistics: without a GPU each process would have those of its own half."""
    settings = ["architecture.backbone=test_convnext", "training.epochs=3", "training.drop_last_batch=true"]
    options = [word for setting in settings for word in ("--set", setting)]
    alone = command(run_files, *options, "--output", str(run_files / "alone"), "--progress", "terminal")
    assert cli.main(alone[3:]) == cli.DONE
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    launched = subprocess.run(
        [*launcher, *command(run_files, *options)[2:]], cwd=ROOT, capture_output=True, text=True, timeout=5 * DEADLINE
    )
    assert launched.returncode == 0, launched.stderr[-2000:]
    lines = [json.loads(line) for line in launched.stdout.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines].count("done") == 1
    assert (run_files / "out" / "pipeline" / "pipeline.json").is_file()
    one, two = losses(run_files / "alone"), losses(run_files / "out")
    assert two == pytest.approx(one, rel=1e-4) and len(one) == 3


def losses(output: Path) -> list[float]:
    return [row["train_loss"] for row in json.loads((output / "metrics.json").read_text())["epochs"]]
