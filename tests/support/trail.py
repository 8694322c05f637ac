"""The audit trail, read by a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from voiceauth.platform.audit.models import AuditEvent


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
