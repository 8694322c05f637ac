"""Pipelines on their way into the registry get the ONNX graph that scoring workers serve."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from mltraining.speech.scoring.folder import DESCRIPTION, serving_export


@contextmanager
def with_export(pipeline: Path) -> Iterator[Path]:
    """Give a folder with the same pipeline that can be served without torch.

    It is ``pipeline`` itself where it holds its default export, or an imported encoder. Otherwise it is a copy. There a
    process of its own builds the export, because torch is needed for that and the caller should not keep it in memory.
    Raises ``subprocess.CalledProcessError`` where that fails.
    """
    described = json.loads((pipeline / DESCRIPTION).read_text(encoding="utf-8"))
    if described.get("imported") or serving_export(pipeline, described):
        yield pipeline
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pipeline"
        shutil.copytree(pipeline, folder)
        subprocess.run(
            [sys.executable, "-m", "mltraining.speech", "export-onnx", str(folder)],
            cwd=settings.BASE_DIR,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield folder
