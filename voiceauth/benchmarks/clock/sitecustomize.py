"""A clock that is wrong, as a file says: ``web 3600`` puts the web server's ahead, ``worker -60`` the workers' back.

Python imports this when it starts with the folder on ``PYTHONPATH``. All other processes, PostgreSQL and Redis among
them, keep the machine's time, and so do durations.
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.utils import timezone

STEP_SECONDS = 0.2  # between looks at the file
_file, _machine = Path(os.environ["VOICEAUTH_STATE_DIR"]) / "clock", time.time
_part = "web" if "voiceauth.launcher.web" in sys.orig_argv else "worker" if "celery" in sys.orig_argv else "other"
_off, _due = 0.0, 0.0


def _seconds_off() -> float:
    global _off, _due
    if time.monotonic() >= _due and _file.exists():
        part, seconds = _file.read_text().split()
        _off, _due = float(seconds) if part == _part else 0.0, time.monotonic() + STEP_SECONDS
    return _off


def _now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_seconds_off())


time.time = lambda: _machine() + _seconds_off()
timezone.now = _now
