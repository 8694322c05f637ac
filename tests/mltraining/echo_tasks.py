"""Scoring tasks for the tests of the calls themselves; a test's worker includes this module."""

import os
import signal
from typing import Any

from mltraining.errors import SilentAudio
from mltraining.worker_calls import scoring_task


@scoring_task("tests.echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    return {"echo": payload["word"]}


@scoring_task("tests.refuse")
def refuse(payload: dict[str, Any]) -> dict[str, Any]:
    raise SilentAudio("quiet as a mouse", seconds=3)


@scoring_task("tests.bug")
def bug(payload: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("a bug")


@scoring_task("tests.die")
def die(payload: dict[str, Any]) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
