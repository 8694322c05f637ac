"""Voice authentication for banks."""

from voiceauth.celery import app as celery_app

__all__ = ["__version__", "celery_app"]

__version__ = "0.1.0"  # the one place: the package, OpenAPI and /healthz read it from here
