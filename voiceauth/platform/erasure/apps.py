"""The app of erasures."""

from django.apps import AppConfig


class ErasureConfig(AppConfig):
    """Holds the erasures and their receipts."""

    name = "voiceauth.platform.erasure"
