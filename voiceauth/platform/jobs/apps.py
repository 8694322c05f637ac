from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "voiceauth.platform.jobs"
