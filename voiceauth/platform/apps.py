"""The app of the ground floor."""

from typing import Any

from celery.signals import beat_init, worker_init
from django.apps import AppConfig

from voiceauth.celery import app as celery_app
from voiceauth.platform import logs

__all__ = ["PlatformConfig", "celery_app"]  # Django loads the queue with this app: shared tasks belong to it


class PlatformConfig(AppConfig):
    """Brings the start-up checks, private logs and the storage of recordings. It has no models."""

    name = "voiceauth.platform"
    label = "platform"

    def ready(self) -> None:
        """Register the start-up checks, and what workers and the schedule do first."""
        from voiceauth.platform import checks  # noqa: F401  (registers them)

        worker_init.connect(_log_uncaught)  # before the pool is forked
        beat_init.connect(_log_uncaught)


def _log_uncaught(**_: Any) -> None:
    logs.log_uncaught()
