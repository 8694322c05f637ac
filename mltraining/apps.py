from django.apps import AppConfig


class MltrainingConfig(AppConfig):
    name = "mltraining"
    verbose_name = "models and training"

    def ready(self) -> None:
        from mltraining import worker_client
        from voiceauth.platform import health

        health.register_scoring(worker_client.ping)
