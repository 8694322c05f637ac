"""The app of the ground floor."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    """Brings the start-up checks and the storage of recordings. It has no models."""

    name = "voiceauth.platform"
    label = "platform"

    def ready(self) -> None:
        """Register the start-up checks."""
        from voiceauth.platform import checks  # noqa: F401  (registers them)
