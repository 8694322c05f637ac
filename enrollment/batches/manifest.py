"""Manifests: JSON lines or parquet, one customer a line, read as a stream.

A line: ``{"customer_id", "display_name"?, "audio": [location, …], "consent": {"purpose", "text_version",
"text_sha256"?, "origin"}, "origin"?, "channel"?, "format"?}``. ``channel`` is that of recordings whose channels differ,
``format`` that of samples without a header.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from rest_framework import serializers

from enrollment.batches.errors import InvalidLine, ManifestEmpty, ManifestUnreadable
from enrollment.serializers import NewConsent, NewCustomer
from voiceauth.platform.api.parsers import loads
from voiceauth.platform.api.uploads import ChannelField, FormatField
from voiceauth.policies.document import DEFAULT_ORIGIN, NAME

MOST_LINE_BYTES = 64 * 1024
MOST_RECORDINGS = 100
ROWS_AT_ONCE = 256  # of a parquet file
CHUNK_BYTES = 64 * 1024
PARQUET = b"PAR1"


class ManifestLine(NewCustomer):
    """One customer of a manifest: the recordings, the consent, and where the recordings come from."""

    audio = serializers.ListField(
        child=serializers.CharField(max_length=1024, trim_whitespace=False), min_length=1, max_length=MOST_RECORDINGS
    )
    consent = NewConsent()
    origin = serializers.RegexField(NAME, required=False, default=DEFAULT_ORIGIN)
    channel = ChannelField()
    format = FormatField()


@dataclass(frozen=True)
class Entry:
    """One line with its number (from 1; of a parquet file the row): its content, or the problem with it."""

    line: int
    content: Any = None
    problem: str = ""


@dataclass(frozen=True)
class Survey:
    """What one pass over a manifest finds out."""

    sha256: str
    total: int  # lines that are not blank


_schema = ManifestLine()  # one for all lines: making one takes longer than validating


def survey(file: IO[bytes]) -> Survey:
    """Read the manifest once, in chunks. Raises ``ManifestUnreadable`` and ``ManifestEmpty``."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    total = _rows(file) if _is_parquet(file) else _count(file)
    if not total:
        raise ManifestEmpty
    return Survey(digest.hexdigest(), total)


def entries(file: IO[bytes], *, after: int = 0) -> Iterator[Entry]:
    """Yield the lines after number ``after``, in order, with a few of them in memory. Raises ``ManifestUnreadable``."""
    if _is_parquet(file):
        yield from _parquet(file, after)
        return
    for number, line in _lines(file):
        if number > after:
            yield _parsed(number, line)


def validated(entry: Entry) -> dict[str, Any]:
    """Return the fields of a ``ManifestLine``. Raises ``InvalidLine``, which says what is wrong."""
    if entry.problem:
        raise InvalidLine(entry.problem)
    try:
        return dict(_schema.run_validation(entry.content))
    except serializers.ValidationError as error:
        raise InvalidLine(_as_text(error.detail)) from error


def _is_parquet(file: IO[bytes]) -> bool:
    file.seek(0)
    start = file.read(len(PARQUET))
    file.seek(0)
    return start == PARQUET


def _count(file: IO[bytes]) -> int:
    total = 0
    for _, line in _lines(file):
        if not total and line is not None:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ManifestUnreadable from error
        total += 1
    return total


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines that are not blank with their numbers; ``None`` for one longer than ``MOST_LINE_BYTES``."""
    number = 0
    while line := file.readline(MOST_LINE_BYTES):
        number += 1
        if len(line) < MOST_LINE_BYTES or line.endswith(b"\n"):
            if line.strip():
                yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MOST_LINE_BYTES)
        yield number, None


def _parsed(number: int, line: bytes | None) -> Entry:
    if line is None:
        return Entry(number, problem=f"The line is too long: a line may have at most {MOST_LINE_BYTES} bytes.")
    try:
        content = loads(line)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair cannot be stored
        return Entry(number, content)
    except ValueError:
        return Entry(number, problem="The line is not JSON.")


def _rows(file: IO[bytes]) -> int:
    return int(_opened(file).metadata.num_rows)


def _parquet(file: IO[bytes], after: int) -> Iterator[Entry]:
    from pyarrow import ArrowException

    number = 0
    try:
        for batch in _opened(file).iter_batches(batch_size=ROWS_AT_ONCE):
            first, number = number, number + batch.num_rows
            if number > after:
                for position, row in enumerate(batch.to_pylist(), first + 1):
                    if position > after:
                        yield Entry(position, _without_nulls(row))
    except (ArrowException, OSError) as error:
        raise ManifestUnreadable from error


def _opened(file: IO[bytes]) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise ManifestUnreadable from error


def _without_nulls(value: Any) -> Any:
    """Drop the columns that a row leaves empty, as if the field were absent."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value


def _as_text(detail: Any, name: str = "") -> str:
    """Return the field names and what is wrong with each, in one line."""
    if isinstance(detail, dict):
        return " ".join(_as_text(each, f"{name}.{field}" if name else str(field)) for field, each in detail.items())
    if isinstance(detail, list):
        return " ".join(_as_text(each, name) for each in detail)
    return f"{name}: {detail}" if name else str(detail)
