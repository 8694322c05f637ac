"""Check that every test that docs/compliance.md names exists, and that the mutation table names real files."""

import re
from pathlib import Path

import pytest

from tests.mutations import RULES

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "compliance.md").read_text())


def test_the_document_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_document_names_exists(path: str, name: str) -> None:
    assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize(("module", "tests"), RULES.items())
def test_the_mutation_table_names_files_that_exist(module: str, tests: str) -> None:
    assert (ROOT / module).is_file()
    assert all((ROOT / path).exists() for path in tests.split())
