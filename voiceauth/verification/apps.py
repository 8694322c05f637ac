from django.apps import AppConfig


class VerificationConfig(AppConfig):
    name = "voiceauth.verification"
    label = "verification"

    def ready(self) -> None:
        from enrollment import erasure
        from voiceauth.verification import call_audio

        erasure.register("verification", call_audio.forget_customer)
