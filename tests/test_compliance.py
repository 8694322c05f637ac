"""Every test that docs/compliance.md names is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (TESTS.parent / "docs" / "compliance.md").read_text())


def test_the_document_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_document_names_is_there(path: str, name: str) -> None:
    assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text(), re.MULTILINE)
