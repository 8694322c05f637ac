"""Writing to the audit trail. Call ``record`` in the transaction that makes the change it tells of."""

import hmac
import json
import random
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from voiceauth.platform import stages
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.actor import Actor
from voiceauth.platform.audit.models import AuditEvent, ChainHead, LaneHead
from voiceauth.platform.postgresql import preparing

# Called with each event of the request at hand, in the transaction that writes the event. What it raises rolls the
# change back. ``platform.api.idempotency`` commits the request's key with it.
in_transaction: ContextVar[Callable[[AuditEvent], None] | None] = ContextVar("in_transaction", default=None)

# Called with each event of any process in the same way. ``platform.webhooks`` follows the trail here.
followers: list[Callable[[AuditEvent], None]] = []

_FIELDS = [field.attname for field in AuditEvent._meta.concrete_fields]
_EVENTS, _HEADS = AuditEvent._meta.db_table, LaneHead._meta.db_table
# The ends of all lanes; the first of them that no other transaction holds, which is held from now on; and a number.
_TAKE = f"""
WITH ends AS MATERIALIZED (
    SELECT newest.* FROM generate_series(1, {chain.LANES}) AS number CROSS JOIN LATERAL (
        SELECT lane, sequence, hash FROM {_HEADS} WHERE lane = number ORDER BY lane DESC, sequence DESC LIMIT 1
    ) AS newest
), own AS MATERIALIZED (
    SELECT free.* FROM ends CROSS JOIN LATERAL (
        SELECT * FROM {_HEADS} WHERE lane = ends.lane AND sequence = ends.sequence FOR UPDATE SKIP LOCKED
    ) AS free LIMIT 1
)
SELECT lane, sequence, hash, seal, nextval('audit_event_number'),
    (SELECT array_agg(sequence) FROM ends), (SELECT array_agg(hash) FROM ends)
FROM own
"""  # noqa: S608
_APPEND = f"""
WITH event AS (INSERT INTO {_EVENTS} ({", ".join(_FIELDS)}) VALUES ({", ".join(f"%({name})s" for name in _FIELDS)})),
    former AS (DELETE FROM {_HEADS} WHERE lane = %(lane)s AND sequence = %(former)s)
INSERT INTO {_HEADS} (lane, sequence, hash, seal) VALUES (%(lane)s, %(sequence)s, %(hash)s, %(seal)s)
"""  # noqa: S608
_JSON = ("before", "after", "data", "follows")
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_WAIT = f"SELECT 1 FROM {_HEADS} WHERE lane = %(lane)s FOR UPDATE"  # noqa: S608


class TrailBroken(Exception):
    """A head of the trail was forged or removed. Nothing is appended: that would hide it."""


@stages.timed("audit")
def record(
    *,
    action: str,
    actor: Actor,
    outcome: str = AuditEvent.Outcome.SUCCESS,
    customer_id: str = "",
    target: str = "",
    model_version: str = "",
    threshold: float | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append one event. Where it fails, the surrounding change fails with it.

    Holds one of the trail's lanes until the transaction ends, so record late and commit soon.
    Raises ``TransactionManagementError`` outside a transaction, ``ValueError`` for NaN and infinity,
    ``TypeError`` for what JSON cannot hold, ``TrailBroken`` where a head was tampered with.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("an event is recorded in the transaction of the change that it tells of")
    event = AuditEvent(
        occurred_at=timezone.now(),
        action=action,
        outcome=outcome,
        actor=actor.name,
        role=actor.role,
        ip_address=actor.ip_address,
        request_id=actor.request_id,
        customer_id=chain.clean(customer_id),
        target=chain.clean(target),
        model_version=model_version,
        threshold=chain.normalise(threshold),
        before=chain.normalise(before),
        after=chain.normalise(after),
        data=chain.normalise(data or {}),
    )
    with preparing(), connection.cursor() as cursor:
        former = _take(cursor, event)
        event.hash = chain.event_hash(event)
        cursor.execute(_APPEND, _values(event, former))
    event._state.adding, event._state.db = False, connection.alias
    if (accompany := in_transaction.get()) is not None:
        accompany(event)
    for follow in followers:
        follow(event)
    return event


def _take(cursor: CursorWrapper, event: AuditEvent) -> int:
    """Give the event a number and a lane that no other transaction holds. Return the number of the lane's last row."""
    cursor.execute(_TAKE)
    while (taken := cursor.fetchone()) is None:
        if not LaneHead.objects.exists():
            _begin()
        else:  # all are held: wait until one of them is not
            cursor.execute(_WAIT, {"lane": str(random.randint(1, chain.LANES))})
        cursor.execute(_TAKE)
    lane, sequence, last_hash, seal, event.sequence, sequences, hashes = taken
    if len(sequences) != chain.LANES:
        raise TrailBroken("a head of the audit trail is missing")
    if not hmac.compare_digest(seal, chain.head_seal(sequence, last_hash, lane)):
        raise TrailBroken(f"the head of lane {lane} of the audit trail was forged")
    if event.sequence <= max(sequences):
        raise TrailBroken("the numbers of the audit trail were set back, or a head was forged")
    others = dict(zip(sequences, hashes, strict=True))
    others.pop(0, None)  # of lanes without a row
    others.pop(sequence, None)
    event.lane, event.follows = lane, [sequence, *others]
    event.previous_hash = chain.digest_of([last_hash, *others.values()])
    return sequence


def _values(event: AuditEvent, former: int) -> dict[str, str | None]:
    """Return what ``_APPEND`` writes, all of it as text, so that it is always the same statement."""
    values = {name: getattr(event, name) for name in _FIELDS}
    values |= {name: _json(values[name]) for name in _JSON if values[name] is not None}
    values["occurred_at"] = event.occurred_at.isoformat()
    values["seal"] = chain.head_seal(event.sequence, event.hash, event.lane)
    values["former"] = former
    return {name: None if value is None else str(value) for name, value in values.items()}


def _begin() -> None:
    """Make the lanes. They go on from the end of the single chain that was before them, if there was one."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {_HEADS} IN SHARE ROW EXCLUSIVE MODE")  # another first writer waits here
    if LaneHead.objects.exists():
        return
    old, newest = ChainHead.objects.filter(id=chain.HEAD_ID).first(), AuditEvent.objects.first()
    if newest is not None and (old is None or newest.lane is not None):
        raise TrailBroken("the heads of the audit trail are missing")
    if old is not None and not chain.seal_is_valid(old):
        raise TrailBroken("the head of the audit trail was forged")
    sequence, last_hash = (old.sequence, old.hash) if old is not None else (0, chain.GENESIS_HASH)
    lanes = range(1, chain.LANES + 1)
    heads = [
        LaneHead(lane=lane, sequence=sequence, hash=last_hash, seal=chain.head_seal(sequence, last_hash, lane))
        for lane in lanes
    ]
    LaneHead.objects.bulk_create(heads)
