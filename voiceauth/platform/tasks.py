"""Thin: one call each."""

from celery import shared_task

from voiceauth.platform import storage as audio_store


@shared_task(name="platform.sweep_audio")
def sweep_audio() -> None:
    """Delete recordings that no row names."""
    audio_store.sweep()
