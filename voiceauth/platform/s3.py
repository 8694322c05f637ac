"""S3 as Django storage. It needs ``requirements-s3.txt``."""

from typing import Any

from botocore.config import Config
from storages.backends.s3 import S3Storage

# Calls and workers wait for an answer. By boto3's own limits they would wait for minutes.
LIMITS = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})


class Bucket(S3Storage):
    """A bucket, or a part of one. A request that is not answered is given up after some 20 seconds."""

    def get_default_settings(self) -> dict[str, Any]:
        """Return the settings of django-storages, with limits of time."""
        return dict(super().get_default_settings()) | {"client_config": LIMITS}
