from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "voiceauth.platform"
    label = "platform"

    def ready(self) -> None:
        from voiceauth.platform import checks  # noqa: F401  (registers them)
