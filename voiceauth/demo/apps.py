from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "voiceauth.demo"
