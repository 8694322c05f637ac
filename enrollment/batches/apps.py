"""The app of batch enrollments."""

from django.apps import AppConfig


class BatchesConfig(AppConfig):
    """Registers what batches forget when a customer's voice is erased."""

    name = "enrollment.batches"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from enrollment import erasure
        from enrollment.batches import services

        erasure.register("batches", services.forget_customer)
