"""The hash chain of the audit trail: canonical form, keyed hashes, verification.

Nobody can compute a hash without the master key. So somebody who can write to the database cannot change, remove or
insert a row without being noticed. One attack leaves no mark inside the database: to restore an older state of the
whole trail, including its head. To detect that, keep an anchor (``SEQUENCE:HASH``) elsewhere, and verify with it.
"""

import hashlib
import hmac
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from typing import Any

from voiceauth.platform import vault
from voiceauth.platform.audit.models import AuditEvent, ChainHead

HEAD_ID = 1
GENESIS_HASH = "0" * 64
HASHED_FIELDS = [f.attname for f in AuditEvent._meta.concrete_fields if f.attname != "hash"]


def clean(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def normalise(value: Any) -> Any:
    """Return ``value`` in the form that it has after a round trip through jsonb.

    jsonb stores numbers as decimals: it drops the sign of -0.0 and reads 1e16 back as an integer. So whole floats
    become integers. Raises ``ValueError`` for NaN and infinity, ``TypeError`` for unknown types.
    """
    match value:
        case None | bool():
            return value
        case str():
            return clean(str(value))
        case int():
            return int(value)
        case Real():
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(f"the audit trail cannot hold {number}")
            return int(number) if number.is_integer() else number
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case uuid.UUID():
            return str(value)
        case Mapping():
            return {clean(str(key)): normalise(item) for key, item in value.items()}
        case Iterable() if not isinstance(value, bytes | bytearray | memoryview):
            return [normalise(item) for item in value]
    raise TypeError(f"the audit trail cannot hold a {type(value).__name__}")


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return ``content`` as canonical JSON: sorted keys, no spaces, normalised numbers, UTF-8."""
    text = json.dumps(normalise(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def event_hash(event: AuditEvent) -> str:
    """Return the HMAC-SHA-256 of everything in the row, and of the hash of the row before it."""
    return _hmac(canonical({name: getattr(event, name) for name in HASHED_FIELDS}))


def head_seal(sequence: int, last_hash: str) -> str:
    """Return the HMAC-SHA-256 that authenticates the head of the trail."""
    return _hmac(f"head:{sequence}:{last_hash}".encode())


def seal_is_valid(head: ChainHead) -> bool:
    """Return whether the head was written by the service, by its seal."""
    return hmac.compare_digest(head.seal, head_seal(head.sequence, head.hash))


def _hmac(content: bytes) -> str:
    return hmac.new(vault.derived_key("audit-trail"), content, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Anchor:
    """A row's number and hash, kept outside the database."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """Parse ``SEQUENCE:HASH``. Raises ``ValueError`` for any other text."""
        sequence, _, digest = text.partition(":")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError("an anchor is SEQUENCE:HASH with 64 hexadecimal digits")
        return cls(int(sequence), digest)


@dataclass(frozen=True)
class Finding:
    """One break of the chain."""

    kind: str  # changed, removed, inserted, unlinked, head_missing, head_forged, anchor
    sequence: int  # the first row concerned
    message: str


@dataclass
class Report:
    """What a verification found: the number of rows, the last one, and the breaks."""

    count: int = 0
    last: Anchor = field(default_factory=lambda: Anchor(0, GENESIS_HASH))
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether no break was found."""
        return not self.findings


def verify(*, anchors: Iterable[Anchor] = (), max_findings: int = 20) -> Report:
    """Read the whole trail in order, in constant memory, and report the first ``max_findings`` breaks.

    It may run while events are written: it reads the head before and after the rows, and the last row must lie
    between the two.
    """
    report = Report()
    expected_hashes = {anchor.sequence: anchor for anchor in anchors}
    head_before = ChainHead.objects.filter(id=HEAD_ID).first()
    for finding in _broken_rows(report, expected_hashes, head_before):
        if len(report.findings) < max_findings:
            report.findings.append(finding)
    head_after = ChainHead.objects.filter(id=HEAD_ID).first()
    report.findings.extend(_broken_ends(report, expected_hashes, head_before, head_after))
    return report


def _broken_rows(report: Report, anchors: dict[int, Anchor], head: ChainHead | None) -> Iterator[Finding]:
    previous: Anchor | None = report.last  # None after a break that is already reported
    next_sequence = 1
    for event in AuditEvent.objects.order_by("sequence").iterator(chunk_size=1000):
        report.count += 1
        number = event.sequence
        valid = hmac.compare_digest(event.hash, event_hash(event))
        if number < next_sequence:  # only 0 and below: the primary key is unique
            yield Finding("inserted", number, f"row {number} lies before the first row of the trail")
            continue
        if number > next_sequence:
            missing = f"row {next_sequence}" if number == next_sequence + 1 else f"rows {next_sequence} to {number - 1}"
            yield Finding("removed", next_sequence, f"{missing} missing")
            previous = None
        if not valid:
            kind, reason = "changed", "its content does not match its hash"
            if head is not None and number > head.sequence:
                kind, reason = "inserted", "it was not written by the service"
            yield Finding(kind, number, f"row {number} ({event.action}): {reason}")
        elif previous is not None and event.previous_hash != previous.hash:
            yield Finding("unlinked", number, f"row {number} ({event.action}) does not follow row {number - 1}")
        if (anchor := anchors.get(number)) is not None and anchor.hash != event.hash:
            yield Finding("anchor", number, f"row {number} is not the one that the anchor names")
        previous = report.last = Anchor(number, event.hash)
        next_sequence = number + 1


def _broken_ends(
    report: Report, anchors: dict[int, Anchor], before: ChainHead | None, after: ChainHead | None
) -> Iterator[Finding]:
    last = report.last
    for anchor in anchors.values():
        if anchor.sequence > last.sequence:
            yield Finding("anchor", anchor.sequence, f"the trail ends at row {last.sequence}, before the anchor")
    if after is None:
        if report.count:
            yield Finding("head_missing", last.sequence, "the head of the trail is missing")
        return
    if not seal_is_valid(after):
        yield Finding("head_forged", after.sequence, "the head of the trail was not written by the service")
        return
    reached = before.sequence if before is not None else 0
    if reached > last.sequence:
        yield Finding("removed", last.sequence + 1, f"the last rows are missing: {last.sequence + 1} to {reached}")
    if after.sequence < last.sequence:
        yield Finding("inserted", after.sequence + 1, f"rows after the last row of the trail, number {after.sequence}")
    elif after.sequence == last.sequence and after.hash != last.hash:
        yield Finding("head_forged", after.sequence, "the head does not belong to the last row")
