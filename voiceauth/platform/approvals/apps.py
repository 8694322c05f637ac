from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "voiceauth.platform.approvals"
    default_auto_field = "django.db.models.BigAutoField"
