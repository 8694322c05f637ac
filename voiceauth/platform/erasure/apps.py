from django.apps import AppConfig


class ErasureConfig(AppConfig):
    name = "voiceauth.platform.erasure"
