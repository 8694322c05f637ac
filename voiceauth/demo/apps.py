"""The app of the demo."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """The demo. It has no models."""

    name = "voiceauth.demo"
