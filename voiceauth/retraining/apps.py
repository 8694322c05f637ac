"""The retraining app."""

from django.apps import AppConfig


class RetrainingConfig(AppConfig):
    """Registers what an erasure must forget, and the forced promotion, which needs a second person."""

    name = "voiceauth.retraining"
    verbose_name = "Retraining"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from enrollment import erasure
        from voiceauth.platform.erasure import copies
        from voiceauth.retraining import erasing, recalibration_services, services, training_data

        services.register_actions()
        recalibration_services.register_actions()
        erasure.register("retraining", erasing.forget_customer)
        copies.register("retraining", training_data.remove_copies)
