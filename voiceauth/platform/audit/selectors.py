"""Reads of the audit trail."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Subquery

from voiceauth.platform.audit.models import AuditEvent

# Events whose moments may be in another order than their numbers: those that were written at the same time.
OUT_OF_ORDER = 10_000


def events() -> QuerySet[AuditEvent]:
    """All events, the latest first."""
    return AuditEvent.objects.order_by("-sequence")


def since(found: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Select the events at ``moment`` and after it, by their numbers: PostgreSQL need not read the later ones."""
    first = AuditEvent.objects.filter(occurred_at__gte=moment).order_by("occurred_at").values("sequence")[:1]
    return found.filter(occurred_at__gte=moment, sequence__gt=Subquery(first) - OUT_OF_ORDER)


def before(found: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
    """Select the events before ``moment``, by their numbers."""
    last = AuditEvent.objects.filter(occurred_at__lt=moment).order_by("-occurred_at").values("sequence")[:1]
    return found.filter(occurred_at__lt=moment, sequence__lt=Subquery(last) + OUT_OF_ORDER)
