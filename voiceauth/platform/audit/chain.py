"""The hash chains of the audit trail: canonical form, keyed hashes, verification.

Nobody can compute a hash without the master key. So somebody who can write to the database cannot change, remove or
insert a row without being noticed, and neither bring back an older end of one lane: later rows of all lanes name what
is missing. One attack leaves no mark inside the database: to restore an older state of the whole trail, including its
heads. To detect that, keep an anchor (``SEQUENCE:HASH``) elsewhere, and verify with it.
"""

import hashlib
import hmac
import json
import math
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from typing import Any

from django.db import transaction

from voiceauth.platform import vault
from voiceauth.platform.audit.models import AuditEvent, ChainHead, LaneHead

HEAD_ID = 1
GENESIS_HASH = "0" * 64
LANES = 16  # how many transactions may append at the same time
_REMEMBERED = 10_000  # hashes; rows that are followed and older than these are looked up
HASHED_FIELDS = [f.attname for f in AuditEvent._meta.concrete_fields if f.attname != "hash"]
_WITHOUT_LANES = [name for name in HASHED_FIELDS if name not in ("lane", "follows")]


def clean(text: str) -> str:
    """Return ``text`` without what PostgreSQL cannot store: NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
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
        case float() | Real():
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


# Canonical JSON: sorted keys, no spaces.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def event_hash(event: AuditEvent) -> str:
    """Return the HMAC-SHA-256 of everything in the row, the digest of the rows that it follows included.

    ``before``, ``after`` and ``data`` have to be normalised, as they are in the database.
    """
    names = HASHED_FIELDS if event.lane is not None else _WITHOUT_LANES
    content = {name: getattr(event, name) for name in names}
    content |= {name: normalise(content[name]) for name in ("occurred_at", "threshold")}
    return _hmac(_encode(content))


def digest_of(hashes: Iterable[str]) -> str:
    """Return the digest of the hashes of the rows that an event follows."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def head_seal(sequence: int, last_hash: str, lane: int | None = None) -> str:
    """Return the HMAC-SHA-256 that authenticates the end of a lane, or of the single chain that was before them."""
    place = "head" if lane is None else f"head:{lane}"
    return _hmac(f"{place}:{sequence}:{last_hash}")


def seal_is_valid(head: LaneHead | ChainHead) -> bool:
    """Return whether the head was written by the service, by its seal."""
    return hmac.compare_digest(head.seal, head_seal(head.sequence, head.hash, getattr(head, "lane", None)))


def _hmac(content: str) -> str:
    return hmac.digest(vault.derived_key("audit-trail"), content.encode(), "sha256").hex()


@dataclass(frozen=True)
class Anchor:
    """A row's number and hash, kept outside the database."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def of(cls, event: AuditEvent) -> "Anchor":
        """Name an event, and with it all that was committed before it."""
        return cls(event.sequence, event.hash)

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
    sequence: int  # the row concerned; of several that were removed, the last
    message: str


@dataclass
class Report:
    """What a verification found: the number of rows, the last one, and the breaks."""

    count: int = 0
    last: Anchor = Anchor(0, GENESIS_HASH)
    findings: list[Finding] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether no break was found."""
        return not self.findings


def verify(*, anchors: Iterable[Anchor] = (), max_findings: int = 20) -> Report:
    """Read the whole trail in order, in constant memory, and report the first ``max_findings`` breaks.

    It may run while events are written: it reads the heads before and after the rows, and each lane must end between
    the two.
    """
    report = Report()
    with transaction.atomic():  # so that PostgreSQL sends the rows while it reads them
        walk, before = _Walk(report, anchors), _heads()
        for finding in walk.rows(before):
            if len(report.findings) < max_findings:
                report.findings.append(finding)
        report.findings.extend(walk.ends(before, _heads()))
    return report


def _heads() -> dict[int, LaneHead | ChainHead]:
    """Return the head of each lane; of lane 0, the single chain that was before them."""
    heads: dict[int, LaneHead | ChainHead] = {head.lane: head for head in LaneHead.objects.order_by("lane", "sequence")}
    if (old := ChainHead.objects.filter(id=HEAD_ID).first()) is not None:
        heads[0] = old
    return heads


class _Walk:
    """The way through the rows of all lanes, in the order of their numbers."""

    def __init__(self, report: Report, anchors: Iterable[Anchor]) -> None:
        self.report = report
        self.anchors = {anchor.sequence: anchor for anchor in anchors}
        self.lanes: dict[int, Anchor | None] = {}  # where each ends; None after a row that is already reported
        self.hashes: OrderedDict[int, str | None] = OrderedDict()  # of the rows that are followed; None: missing

    def rows(self, heads: Mapping[int, LaneHead | ChainHead]) -> Iterator[Finding]:
        """Check what each row says, of itself and of the rows that it follows."""
        newest = max((head.sequence for head in heads.values()), default=0)
        for event in AuditEvent.objects.order_by("sequence").iterator(chunk_size=1000):
            self.report.count += 1
            lane, row = event.lane or 0, Anchor.of(event)
            if hmac.compare_digest(event.hash, event_hash(event)):
                yield from self._broken_links(event, lane)
                self.lanes[lane] = row
            else:
                kind, reason = "changed", "its content does not match its hash"
                if not 0 < row.sequence <= newest:
                    kind, reason = "inserted", "it was not written by the service"
                yield Finding(kind, row.sequence, f"row {row.sequence} ({event.action}): {reason}")
                if lane in self.lanes:
                    self.lanes[lane] = None
            if self.anchors.pop(row.sequence, row) != row:
                yield Finding("anchor", row.sequence, f"row {row.sequence} is not the one that the anchor names")
            self._remember(row.sequence, row.hash)
            self.report.last = row

    def _broken_links(self, event: AuditEvent, lane: int) -> Iterator[Finding]:
        number, end = event.sequence, self.lanes.get(lane)
        follows = [number - 1] if event.follows is None else event.follows
        own = follows[0]
        reported = {each for each in follows if each in self.hashes and self.hashes[each] is None}
        hashes = {each: found for each in follows if (found := self._hash_of(each)) is not None}
        for each in set(follows) - hashes.keys() - reported:
            rows = f"row {each}" if each != own or end is None else f"rows {end.sequence + 1} to {each} of its lane"
            yield Finding("removed", each, f"{rows} missing, which row {number} ({event.action}) follows")
        if len(hashes) < len(follows):
            return
        expected = hashes[own] if event.follows is None else digest_of(hashes.values())
        if event.previous_hash != expected or (end is not None and end.sequence != own):
            yield Finding("unlinked", number, f"row {number} ({event.action}) does not follow what is before it")

    def ends(
        self, before: Mapping[int, LaneHead | ChainHead], after: Mapping[int, LaneHead | ChainHead]
    ) -> Iterator[Finding]:
        """Check that each lane ends where its head says."""
        for anchor in self.anchors.values():
            yield Finding("anchor", anchor.sequence, f"there is no row {anchor.sequence}, which the anchor names")
        lanes = self.lanes.keys() | before.keys() | after.keys()
        for lane in sorted(lanes | set(range(1, LANES + 1)) if lanes - {0} else lanes):
            name = f"lane {lane}" if lane else "the chain without lanes"
            end, head = self.lanes.get(lane, Anchor(0, GENESIS_HASH)), after.get(lane)
            if head is None:
                yield Finding("head_missing", end.sequence if end else 0, f"the head of {name} is missing")
            elif not seal_is_valid(head):
                yield Finding("head_forged", head.sequence, f"the head of {name} was not written by the service")
            elif end is not None:
                reached = before[lane].sequence if lane in before else 0
                if reached > end.sequence and self._hash_of(reached) is None:
                    yield Finding("removed", reached, f"the last rows of {name} are missing, up to row {reached}")
                if head.sequence < end.sequence:
                    yield Finding("inserted", end.sequence, f"rows of {name} after its last row, {head.sequence}")
                elif head.sequence == end.sequence and head.hash != end.hash:
                    yield Finding("head_forged", head.sequence, f"the head of {name} does not belong to its last row")

    def _hash_of(self, number: int) -> str | None:
        """Return the hash of a row; ``None`` if it is missing."""
        if number == 0:
            return GENESIS_HASH
        if number not in self.hashes:
            self._remember(number, AuditEvent.objects.filter(sequence=number).values_list("hash", flat=True).first())
        self.hashes.move_to_end(number)
        return self.hashes[number]

    def _remember(self, number: int, found: str | None) -> None:
        self.hashes[number] = found
        if len(self.hashes) > _REMEMBERED:
            self.hashes.popitem(last=False)
