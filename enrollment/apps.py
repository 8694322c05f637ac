"""The enrollment app."""

from django.apps import AppConfig


class EnrollmentConfig(AppConfig):
    """Registers the export of recordings, which needs a second person, and how erasures are repeated."""

    name = "enrollment"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from enrollment import audio_exports, erasing_again

        audio_exports.register_actions()
        erasing_again.register()
