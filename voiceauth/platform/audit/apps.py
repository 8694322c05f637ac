"""The app of the audit trail."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Holds the events and the head of the trail."""

    name = "voiceauth.platform.audit"
