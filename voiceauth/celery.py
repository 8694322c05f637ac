"""The queue: ``scoring`` answers calls, ``training`` retrains and promotes, ``maintenance`` sweeps."""

import contextlib
import ctypes
import logging.config
import os
import signal
import sys
import time
from functools import cached_property
from multiprocessing.connection import wait
from typing import Any

import billiard
from celery import Celery, bootsteps
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup
from celery.signals import celeryd_init, setup_logging, worker_process_init
from celery.worker import state
from django.conf import settings
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceauth.settings")

LOOK_SECONDS = 0.2  # between looks at whether a worker that starts is told to stop
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


class WaitsForItsProcesses(bootsteps.StartStopStep):
    """Lets a worker take its first message once its processes can carry it out, each with its model in memory.

    A worker that starts beside another one would otherwise take calls from it, and keep them for seconds.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Wait for what each process says behind ``worker_process_init``. It is left for the pool to read."""
        ends = time.monotonic() + settings.CELERY_WORKER_PROC_ALIVE_TIMEOUT
        waiting = {each.outqR_fd for each in worker.pool._pool._pool}
        while waiting and time.monotonic() < ends:
            state.maybe_shutdown()
            waiting.difference_update(wait(waiting, LOOK_SECONDS))


class GivesBack(bootsteps.StartStopStep):
    """Gives back what a worker that is told to stop has taken and not begun, while somebody still waits for it.

    Celery does so once its processes have ended, two seconds later. A message that comes meanwhile, for which this
    worker has asked, waits as long.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def stop(self, consumer: Any) -> None:
        """Stop taking messages."""
        if state.should_stop is None or consumer.task_consumer is None:
            return  # the connection was lost and is made anew, or there was none yet
        channel = consumer.task_consumer.channel
        with contextlib.suppress(*consumer.connection_errors, *consumer.channel_errors):
            consumer.task_consumer.cancel()
            channel.qos.restore_unacked()
            channel.close()  # it waits for the answer to what it has asked for, and gives that back as well


app = Celery("voiceauth", fixups={lambda app: Fixup(app).install()})
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(WaitsForItsProcesses)
app.steps["consumer"].add(GivesBack)
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
