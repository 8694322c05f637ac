from django.apps import AppConfig


class VoiceauthConfig(AppConfig):
    name = "voiceauth"

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them)
