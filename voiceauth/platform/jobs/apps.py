"""The app of the job engine."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Brings the task that recovers lost jobs. Each kind of job is a model of its own room."""

    name = "voiceauth.platform.jobs"

    def ready(self) -> None:
        """Have the metrics tell of jobs."""
        from voiceauth.platform import metrics
        from voiceauth.platform.jobs import readings

        metrics.register(*readings.ALL)
