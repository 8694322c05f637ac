"""``manage.py help``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voiceauth.launcher.overview import commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "text"), commands().items())
def test_a_command_says_what_it_does_in_one_line(name: str, text: str) -> None:
    assert 20 <= len(text) <= 120


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help_lists_our_commands_and_starts_no_server(arguments: list[str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment["VOICEAUTH_STATE_DIR"] = str(tmp_path)
    shown = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in ("serve", "bootstrap", "create_api_client", "verify_audit_trail", "import_customers", "calibrate"):
        assert f"  {name} " in shown
    assert not (tmp_path / "postgres").exists()
