"""Every test that docs/compliance.md names is there, and has been seen to fail without what it tests."""

import re
from pathlib import Path

import pytest

from tests.mutations import table

TESTS = Path(__file__).resolve().parent
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (TESTS.parent / "docs" / "compliance.md").read_text())
MUTATIONS = table()


def test_the_document_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_document_names_is_there(path: str, name: str) -> None:
    assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text(), re.MULTILINE)


def test_each_of_them_and_no_other_is_in_the_table_of_mutations() -> None:
    assert {each.test for each in MUTATIONS} == {f"{path}::{name}" for path, name in NAMED}
