"""Paths of the audit trail and the metrics."""

from django.urls import path

from voiceauth.platform.api import audit_trail, metrics

urlpatterns = [
    path("audit-events", audit_trail.AuditEventList.as_view(), name="audit-events"),
    path("metrics", metrics.Metrics.as_view(), name="metrics"),
]
