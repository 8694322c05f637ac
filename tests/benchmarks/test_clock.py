"""The clock that a fault puts ahead or back is that of one part of the service; durations stay as they are."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from voiceauth.benchmarks.faults import CLOCK
from voiceauth.benchmarks.service import Service

SAID = "import time; from django.utils.timezone import now; print(time.time(), now().timestamp(), time.monotonic())"


class InAFolder(Service):
    """A service of which there is only the folder."""

    def __init__(self, state: Path) -> None:
        self.state = state


@pytest.mark.parametrize(("part", "seconds"), [("worker", 3600), ("worker", -3600), ("web", 0)])
def test_a_clock_is_put_ahead_or_back_for_one_part_alone(tmp_path: Path, part: str, seconds: int) -> None:
    InAFolder(tmp_path).set_clock(part, seconds or 3600)
    environment = {**os.environ, "PYTHONPATH": str(CLOCK), "VOICEAUTH_STATE_DIR": str(tmp_path)}
    worker = subprocess.run(
        [sys.executable, "-c", SAID, "celery"], env=environment, capture_output=True, text=True, check=True
    )
    moments = [float(word) for word in worker.stdout.split()]
    assert moments[0] - time.time() == pytest.approx(seconds, abs=600)
    assert moments[1] == pytest.approx(moments[0], abs=60)
    assert 0 <= time.monotonic() - moments[2] < 600
