"""The audit trail over HTTP."""

from datetime import datetime

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers

from voiceauth.platform.api.filters import MomentFilter, StrictFilterSet
from voiceauth.platform.api.permissions import needs
from voiceauth.platform.audit import selectors
from voiceauth.platform.audit.models import AuditEvent


class AuditEventFilter(StrictFilterSet):
    """Narrow the trail by customer, action, outcome, actor and time."""

    occurred_after = MomentFilter("occurred_at", "gte", method="since")
    occurred_before = MomentFilter("occurred_at", "lt", method="before")

    class Meta:
        model = AuditEvent
        fields = ("customer_id", "action", "outcome", "actor")

    def since(self, events: QuerySet[AuditEvent], name: str, moment: datetime) -> QuerySet[AuditEvent]:
        """Select the events at a moment and after it."""
        return selectors.since(events, moment)

    def before(self, events: QuerySet[AuditEvent], name: str, moment: datetime) -> QuerySet[AuditEvent]:
        """Select the events before a moment."""
        return selectors.before(events, moment)


class AuditEventSerializer(serializers.ModelSerializer):
    """One event of the audit trail."""

    # Spelt out, so that the schema says what the trail holds.
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)
    data = serializers.DictField()

    class Meta:
        model = AuditEvent
        fields = (
            "sequence",
            "occurred_at",
            "action",
            "outcome",
            "actor",
            "role",
            "ip_address",
            "request_id",
            "customer_id",
            "target",
            "model_version",
            "threshold",
            "before",
            "after",
            "data",
            "hash",
        )


@extend_schema(tags=["audit"])
class AuditEventList(generics.ListAPIView):
    """The audit trail, the latest event first."""

    permission_classes = (needs("audit:read"),)
    serializer_class = AuditEventSerializer
    filterset_class = AuditEventFilter

    def get_queryset(self) -> QuerySet[AuditEvent]:
        """Select the rows of the list."""
        return selectors.events()
