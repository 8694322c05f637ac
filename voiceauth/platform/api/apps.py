"""The app of the API's edge."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Holds the API clients, and the answers kept for repeated requests."""

    name = "voiceauth.platform.api"
