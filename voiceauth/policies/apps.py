"""The app of the policy."""

from django.apps import AppConfig


class PoliciesConfig(AppConfig):
    """Holds the versions of the policy."""

    name = "voiceauth.policies"
    default_auto_field = "django.db.models.BigAutoField"
