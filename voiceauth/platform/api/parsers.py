"""What is given twice is refused: nobody can say which of the two was meant.

Django's ``QueryDict`` and Python's ``json`` both take the last one in silence (RFC 8259 §4 leaves it open). One call
could then be checked by a gateway under one customer identifier and decided here under another.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import IO, Any

from django.http import QueryDict
from rest_framework import parsers
from rest_framework.exceptions import ParseError

from voiceauth.platform.errors import DomainError

MOST_DIGITS = 20  # of a 64-bit integer and its sign
MOST_LEVELS = 32  # of arrays and objects within each other


class RepeatedField(DomainError):
    """Carries ``fields``: the names."""

    code = "repeated_field"
    message = "A field or query parameter was given more than once. Give each one once."


def refuse_repeated(values: QueryDict, *, lists: Collection[str] = ()) -> None:
    """Raise ``RepeatedField`` where a name of a form or a query has several values, but those of ``lists``."""
    if repeated := sorted(name for name, several in values.lists() if len(several) > 1 and name not in lists):
        raise RepeatedField(fields=repeated)


class JSONParser(parsers.JSONParser):
    """JSON objects whose names are unique, at every depth, with numbers that a computer can hold."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the content. Raises ``RepeatedField``, and ``ParseError`` for what ``loads`` refuses."""
        try:
            return loads(stream.read(), object_pairs_hook=_unique)
        except ValueError as error:
            raise ParseError("The body is no valid JSON.") from error


def loads(text: str | bytes, **options: Any) -> Any:
    """Parse JSON that somebody sent. Raises ``ValueError`` for what is no JSON or what cannot be stored.

    Refused are more than ``MOST_LEVELS`` levels of nesting, ``NaN`` and ``Infinity``, and numbers that fit neither a
    double nor a 64-bit integer (``1.8e308``). RFC 8259 §9 lets a receiver limit all of them.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant, parse_float=_float, parse_int=_integer, **options)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    _require_shallow(content, MOST_LEVELS)
    return content


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Build one object of a JSON text."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise RepeatedField(fields=[name])
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _require_shallow(content: Any, levels: int) -> None:
    if not isinstance(content, dict | list):
        return
    if levels == 0:
        raise ValueError("the JSON is nested too deeply")
    for each in content.values() if isinstance(content, dict) else content:
        _require_shallow(each, levels - 1)


def _float(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError("a number is too large for a double")
    return number


def _integer(digits: str) -> int:
    # The length first: converting millions of digits takes minutes.
    if len(digits) > MOST_DIGITS or not -(2**63) <= (number := int(digits)) < 2**63:
        raise ValueError("a whole number has more than 64 bits")
    return number
