"""The app of models and training: its registry, and the calls to scoring workers."""

from django.apps import AppConfig


class MltrainingConfig(AppConfig):
    """Tells the health check how to reach a scoring worker."""

    name = "mltraining"
    verbose_name = "models and training"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from mltraining import worker_client
        from voiceauth.platform import health

        health.register_scoring(worker_client.ping)
