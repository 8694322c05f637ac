"""Check the metadata of the speech library's package, and that it installs and runs without the service."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from django.conf import settings

from voiceauth import __version__

ROOT = Path(settings.BASE_DIR)


def test_the_package_depends_on_exactly_the_speech_part_of_the_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    speech = (ROOT / "requirements.txt").read_text().partition("# service\n")[0]
    pinned = re.findall(r"^[\w-]+(?:\[[\w,]+\])?==[\w.]+", speech, re.MULTILINE)
    assert pinned
    assert project["dependencies"] == pinned


def test_every_requirement_is_pinned() -> None:
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            assert not requirement or requirement.startswith("-r ") or "==" in requirement, f"{path.name}: {line}"


def test_the_wheel_holds_the_speech_library_alone_and_runs_without_the_service(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path / "dist", str(_source(tmp_path))], check=True)
    (wheel,) = (tmp_path / "dist").glob(f"voiceauth_speech-{__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".py")]
        archive.extractall(tmp_path / "site")
    assert modules and all(name.startswith("mltraining/speech/") for name in modules)
    command = [sys.executable, "-m", "mltraining.speech", "--help"]
    run = subprocess.run(command, cwd=tmp_path / "site", capture_output=True, text=True, check=True)
    assert "evaluate" in run.stdout


def _source(tmp_path: Path) -> Path:
    """A copy of what the build reads, so that it leaves nothing in the working tree."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mltraining" / "speech", source / "mltraining" / "speech")
    (source / "voiceauth").mkdir()
    shutil.copy(ROOT / "voiceauth" / "__init__.py", source / "voiceauth")
    return source
