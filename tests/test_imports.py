"""What import-linter cannot say: what a web process really loads, and whom the speech library knows."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

SPEECH = Path(settings.BASE_DIR) / "mltraining" / "speech"
HEAVY = ("torch", "torchaudio", "torchvision", "timm", "onnxruntime", "av", "matplotlib", "pandas")


def test_a_web_process_loads_no_model_library():
    code = (
        "import sys, voiceauth.wsgi, voiceauth.urls\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=dict(os.environ), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_the_speech_library_imports_nothing_of_ours_outside_itself():
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
