"""The app of sign-ins."""

from django.apps import AppConfig


class SignInConfig(AppConfig):
    """Holds the second factors of people."""

    name = "voiceauth.review.sign_in"
