"""The app of two-person control."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """Two-person control."""

    name = "voiceauth.platform.approvals"
    default_auto_field = "django.db.models.BigAutoField"
