"""The app of the job engine."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Brings the task that recovers lost jobs. Each kind of job is a model of its own room."""

    name = "voiceauth.platform.jobs"
