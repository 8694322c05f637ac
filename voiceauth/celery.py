"""The queue: ``scoring`` answers calls, ``training`` retrains and promotes, ``maintenance`` sweeps."""

import ctypes
import logging.config
import os
import signal
import sys
from functools import cached_property
from typing import Any

import billiard
from celery import Celery
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup
from celery.signals import celeryd_init, setup_logging, worker_process_init
from django.conf import settings
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

MAIN = os.getpid()  # the worker that forks the pool's processes


class KeepsConnections(DjangoWorkerFixup):
    """Keeps connections to the database from one task to the next by Django's own rule, as web processes do.

    Celery closes them before and after each task. A new one for each call took 10 ms.
    """

    def close_database(self, **_: Any) -> None:
        """Close connections that are broken or too old."""
        close_old_connections()


class Fixup(DjangoFixup):
    """Sets Django up in a worker."""

    @cached_property
    def worker_fixup(self) -> DjangoWorkerFixup:
        """What begins and ends a worker's tasks."""
        return KeepsConnections(self.app)


app = Celery("voiceauth", fixups={lambda app: Fixup(app).install()})
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(related_name="worker")  # what the scoring workers answer


@setup_logging.connect
def keep_the_logs_private(**_: Any) -> None:
    """Log as the settings say: Celery's own handlers would print the results and errors of tasks."""
    logging.config.dictConfig(settings.LOGGING)


@celeryd_init.connect
def require_shared_memory(**_: Any) -> None:
    """End the start of a worker with the reason where it cannot make the locks between its processes."""
    try:
        billiard.Lock()
    except OSError as error:
        sys.exit(
            f"The worker cannot make a lock in shared memory ({error.strerror}): /dev/shm must be writable and must "
            "not be full. In a container, mount a tmpfs there."
        )


@worker_process_init.connect
def end_with_the_worker(**_: Any) -> None:
    """A pool process must not outlive a worker that is killed: nobody would ever stop it (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != MAIN:  # it was killed before we asked: the signal will never come
            os._exit(1)
