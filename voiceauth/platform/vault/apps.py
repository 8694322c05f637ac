"""The app of keys and sealing."""

from django.apps import AppConfig


class VaultConfig(AppConfig):
    """Holds the service's root key."""

    name = "voiceauth.platform.vault"
