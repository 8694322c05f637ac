"""docs/operations.md lists every variable that the code reads."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = "text|boolean|number|integer|words|networks|secret|database|mapping|storage"
READ = re.compile(rf"env\.(?:{KINDS})\(\s*\"([A-Z_]+)\"")
SOURCES = [path for folder in ("voiceauth", "enrollment", "mltraining") for path in (ROOT / folder).rglob("*.py")]
NAMES = sorted({name for path in SOURCES for name in READ.findall(path.read_text())})


def test_the_search_finds_the_settings() -> None:
    assert {"DATABASE_URL", "VOICEAUTH_BIND", "VOICEAUTH_MIN_SNR_DB"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_is_in_the_table(name: str) -> None:
    table = [line for line in (ROOT / "docs" / "operations.md").read_text().splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in line for line in table)
