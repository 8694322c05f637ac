"""The verification app."""

from django.apps import AppConfig


class VerificationConfig(AppConfig):
    """Registers what happens to calls when a customer is erased, and what needs a second person."""

    name = "voiceauth.verification"
    label = "verification"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from enrollment import erasure
        from voiceauth.verification import audio_exports, call_audio, fraudsters

        erasure.register("verification", call_audio.forget_customer)
        fraudsters.register_actions()
        audio_exports.register_actions()
