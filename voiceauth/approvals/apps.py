from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "voiceauth.approvals"
    default_auto_field = "django.db.models.BigAutoField"
