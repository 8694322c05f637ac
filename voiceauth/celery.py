"""The queue: ``scoring`` answers calls, ``training`` retrains and promotes, ``maintenance`` sweeps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

app = Celery("voiceauth")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
