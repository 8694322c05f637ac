"""What import-linter cannot say: what a web process really loads, and whom the speech library knows."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mltraining.speech.training import export_onnx
from tests.support.audio import voice, wav
from tests.support.model import export_untrained

SPEECH = Path(settings.BASE_DIR) / "mltraining" / "speech"
HEAVY = ("torch", "torchaudio", "torchvision", "timm", "onnxruntime", "av", "matplotlib", "pandas")


@pytest.fixture(scope="module")
def loaded_by_web() -> set[str]:
    """The names of the modules that a web process has loaded once its URLconf is there."""
    code = (
        "import sys, voiceauth.asgi, voiceauth.urls\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=dict(os.environ), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_a_scoring_worker_needs_no_torch(tmp_path: Path) -> None:
    folder = export_untrained(tmp_path / "pipeline")
    export_onnx.build(folder, [])
    (tmp_path / "call.wav").write_bytes(wav(voice(1, seconds=6)))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from voiceauth.celery import app\n"
        "app.loader.import_default_modules()\n"  # what Celery loads when a worker starts
        "assert 'verification.verify_call' in app.tasks, sorted(app.tasks)\n"
        "from mltraining.messages import Recording\n"
        "from mltraining import recordings, scorer\n"
        "from mltraining.speech.scoring.pipeline import ScoringPipeline\n"
        f"pipeline = ScoringPipeline.load(Path({str(folder)!r}))\n"
        f"analysis = recordings.analyse(Recording(audio=Path({str(tmp_path / 'call.wav')!r}).read_bytes()))\n"
        "voice = recordings.voice_of(analysis, scorer.LoadedModel('', '', pipeline, None))\n"
        "assert analysis.acoustic_fingerprint() and voice.parts is not None\n"
        "assert len(voice.compare(voice.vector[None], 20.0).score) == 1\n"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env=dict(os.environ) | {"VOICEAUTH_WORKER": "scoring"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split("\n")[-2].split())
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "torchaudio", "torchvision", "timm", "pandas", "sklearn", "matplotlib", "onnx"} == set()


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The contract that web processes load no model."""
    content = tomllib.loads((Path(settings.BASE_DIR) / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = content["tool"]["importlinter"]["contracts"]
    return next(each for each in contracts if each["name"] == "A web process loads no model")


def test_a_web_process_loads_no_model_library(loaded_by_web: set[str]) -> None:
    assert loaded_by_web & set(HEAVY) == set()


def test_the_contract_lists_every_module_that_a_web_process_loads_and_no_other(
    loaded_by_web: set[str], contract: dict[str, Any]
) -> None:
    listed = contract["source_modules"]
    # What an exception loads of the library is part of it; that no model library is, is tested above.
    excepted = {line.split(" -> ")[1] for line in contract["ignore_imports"]}
    excepted |= {name for name in loaded_by_web if name.startswith("mltraining.speech.")}
    ours = {name for name in loaded_by_web if name.split(".")[0] in ("voiceauth", "enrollment", "mltraining")}
    packages = {name for name in ours if any(other.startswith(f"{name}.") for other in ours)}
    missing = {
        name for name in ours - packages - excepted if not any(f"{name}.".startswith(f"{each}.") for each in listed)
    }
    stale = {each for each in listed if not any(f"{name}.".startswith(f"{each}.") for name in ours)}
    assert (missing, stale) == (set(), set())


def test_the_speech_library_imports_nothing_of_ours_outside_itself() -> None:
    ours = ("voiceauth", "enrollment", "mltraining", "tests")
    found = []
    for path in SPEECH.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                depth = len(path.relative_to(SPEECH).parts)
                names = ["mltraining"] if node.level > depth else [node.module or ""] if node.level == 0 else []
            else:
                continue
            found += [
                f"{path.name}: {name}"
                for name in names
                if name.split(".")[0] in ours and not f"{name}.".startswith("mltraining.speech.")
            ]
    assert list(SPEECH.rglob("*.py"))
    assert found == []
