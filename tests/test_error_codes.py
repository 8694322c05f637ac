"""Every error code has one status and one meaning, and docs/api.md lists it."""

import re
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest
from django.urls import get_resolver
from rest_framework.exceptions import APIException

from voiceauth.platform.api.exceptions import DRF_CODES
from voiceauth.platform.errors import DomainError

# The last row wins nothing: each code stands in one table, ``| `code` | status | meaning |``.
ROWS = re.findall(
    r"^\| `(\w+)` \| (\d{3}) \| .+ \|$",
    (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(),
    re.MULTILINE,
)
get_resolver().url_patterns  # noqa: B018  loads every view, and with it every error


def _errors(base: type[DomainError]) -> Iterator[type[DomainError]]:
    for child in base.__subclasses__():
        if child.__module__.startswith(("voiceauth.", "enrollment.", "mltraining.")):
            yield child
        yield from _errors(child)


OWN = {error for error in _errors(DomainError) if "code" in vars(error)}


def test_no_two_errors_share_a_code() -> None:
    counts = Counter(error.code for error in OWN)
    assert [code for code, count in counts.items() if count > 1] == []


def test_no_code_is_documented_twice() -> None:
    assert [code for code, count in Counter(code for code, _ in ROWS).items() if count > 1] == []


@pytest.mark.parametrize("error", sorted(OWN, key=attrgetter("code")), ids=attrgetter("code"))
def test_an_error_is_documented_with_its_status(error: type[DomainError]) -> None:
    assert (error.code, str(error.status)) in ROWS


@pytest.mark.parametrize("error", DRF_CODES, ids=lambda error: error.__name__)
def test_an_error_of_the_framework_is_documented_with_its_status(error: type[APIException]) -> None:
    assert (DRF_CODES[error], str(error.status_code)) in ROWS


def test_only_what_exists_is_documented() -> None:
    existing = {error.code for error in OWN} | set(DRF_CODES.values()) | {"validation_error"}
    assert {code for code, _ in ROWS} <= existing
