from django.apps import AppConfig


class RetrainingConfig(AppConfig):
    name = "voiceauth.retraining"
    verbose_name = "Retraining"

    def ready(self) -> None:
        from enrollment import erasure
        from voiceauth.retraining import erasing, services

        services.register_actions()
        erasure.register("retraining", erasing.forget_customer)
        erasure.register_export(erasing.forget_exports)
