"""The app of models and training: its registry, and the calls to scoring workers."""

from django.apps import AppConfig


class MltrainingConfig(AppConfig):
    """Tells the health check how to reach a scoring worker, and the metrics what there is to read."""

    name = "mltraining"
    verbose_name = "models and training"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from mltraining import readings, worker_client
        from voiceauth.platform import health, metrics

        health.register_scoring(worker_client.ping)
        metrics.register(*readings.ALL)
