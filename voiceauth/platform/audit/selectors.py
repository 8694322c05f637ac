"""Reads of the audit trail."""

from django.db.models import QuerySet

from voiceauth.platform.audit.models import AuditEvent


def events() -> QuerySet[AuditEvent]:
    """All events, the latest first."""
    return AuditEvent.objects.order_by("-sequence")
