"""Paths of the audit trail."""

from django.urls import path

from voiceauth.platform.api import audit_trail

urlpatterns = [path("audit-events", audit_trail.AuditEventList.as_view(), name="audit-events")]
