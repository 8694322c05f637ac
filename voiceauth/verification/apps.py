from django.apps import AppConfig


class VerificationConfig(AppConfig):
    name = "voiceauth.verification"
    label = "verification"
