from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "enrollment.batches"

    def ready(self) -> None:
        from enrollment import erasure
        from enrollment.batches import services

        erasure.register("batches", services.forget_customer)
