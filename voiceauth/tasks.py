"""Thin: one call each."""

from celery import shared_task

from voiceauth import audio_store


@shared_task(name="voiceauth.sweep_audio")
def sweep_audio() -> None:
    audio_store.sweep()
