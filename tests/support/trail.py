"""The audit trail, read by a test, written in several lanes, and tampered with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from tests.support.waiting import at_once
from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.models import AuditEvent, ChainHead, LaneHead
from voiceauth.platform.audit.services import record


def newest_event() -> AuditEvent:
    event = AuditEvent.objects.first()
    assert event is not None
    return event


def before(event: AuditEvent) -> dict[str, Any]:
    """What the event says was before the change."""
    assert event.before is not None
    return event.before


def after(event: AuditEvent) -> dict[str, Any]:
    """What the event says is since the change."""
    assert event.after is not None
    return event.after


@contextmanager
def the_owner_at_work() -> Iterator[None]:
    """Change the trail as the owner of its table could: without its triggers."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_change")
            cursor.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate")


def write_together(count: int, action: str = "act") -> None:
    """Record ``count`` events in transactions that are all open at the same time: each in a lane of its own."""
    recorded = threading.Barrier(count, timeout=60)

    def write() -> None:
        with transaction.atomic():
            record(action=action, actor=SYSTEM)
            recorded.wait()

    assert at_once(*[write] * count) == [None] * count


def write_without_lanes(action: str) -> AuditEvent:
    """Record an event as the version before the lanes does: one chain, numbered from 1 without gaps."""
    head = ChainHead.objects.filter(pk=chain.HEAD_ID).first() or ChainHead(hash=chain.GENESIS_HASH)
    event = AuditEvent(occurred_at=timezone.now(), action=action, actor="system", role="system", outcome="success")
    event.sequence, event.previous_hash = head.sequence + 1, head.hash
    event.hash = chain.event_hash(event)
    event.save(force_insert=True)
    seal = chain.head_seal(event.sequence, event.hash)
    new = {"sequence": event.sequence, "hash": event.hash, "seal": seal}
    ChainHead.objects.update_or_create(pk=chain.HEAD_ID, defaults=new)
    return event


def set_back(heads: list[LaneHead]) -> None:
    """Put genuine heads of an earlier moment in the place of those that there are in their lanes."""
    LaneHead.objects.filter(lane__in=[head.lane for head in heads]).delete()
    LaneHead.objects.bulk_create(heads)


def number_from_one() -> None:
    """Number the events of an empty trail from 1: tests that are rolled back leave their numbers unused."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE audit_event_number RESTART")
