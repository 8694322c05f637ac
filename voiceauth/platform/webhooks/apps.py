"""The app of webhooks."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Follows the audit trail."""

    name = "voiceauth.platform.webhooks"

    def ready(self) -> None:
        """Have every event of the trail announced to the endpoints that want it."""
        from voiceauth.platform.audit.services import followers
        from voiceauth.platform.webhooks.services import announce

        followers.append(announce)
