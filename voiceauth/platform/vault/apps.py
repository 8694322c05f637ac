from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "voiceauth.platform.vault"
