"""The app of the launcher."""

from django.apps import AppConfig


class LauncherConfig(AppConfig):
    """Brings the commands that run the service. It has no models."""

    name = "voiceauth.launcher"
