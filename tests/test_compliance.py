"""Every test that docs/compliance.md names is there, and has been seen to fail without what it tests."""

import re
from pathlib import Path

import pytest

from tests.mutations import Edit, table

TESTS = Path(__file__).resolve().parent
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (TESTS.parent / "docs" / "compliance.md").read_text())
MUTATIONS = table()
EDITS = list(dict.fromkeys(edit for each in MUTATIONS for edit in each.edits))


def test_the_document_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_document_names_is_there(path: str, name: str) -> None:
    assert re.search(rf"^ *def {name}\(", (TESTS / path).read_text(), re.MULTILINE)


def test_each_of_them_and_no_other_is_in_the_table_of_mutations() -> None:
    assert {each.test for each in MUTATIONS} == {f"{path}::{name}" for path, name in NAMED}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.path)
def test_what_a_mutation_takes_out_is_in_the_code_once(edit: Edit) -> None:
    assert (TESTS.parent / edit.path).read_text().count(edit.old) == 1 and edit.new != edit.old
