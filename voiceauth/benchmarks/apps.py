"""The app of the benchmarks."""

from django.apps import AppConfig


class BenchmarksConfig(AppConfig):
    """Brings the commands that measure the running service. It has no models."""

    name = "voiceauth.benchmarks"
