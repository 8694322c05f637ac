"""The files that web processes count in."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

COUNTS = """
import resource
import django
django.setup()
from voiceauth.platform.metrics import STAGE_SECONDS
STAGE_SECONDS.labels("verify_call", "network").observe(0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for number in range(500):
    STAGE_SECONDS.labels("verify_call", f"stage {number}").observe(0.01)
"""


def test_something_new_is_counted_while_no_file_can_grow(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", COUNTS], env=environment, cwd=settings.BASE_DIR, check=True)
    assert list(tmp_path.glob("histogram_*.db"))
