"""Django's backend for PostgreSQL, made ready for a failover: the settings name it as ``ENGINE``."""

from contextlib import AbstractContextManager
from typing import Any

from django.db import connection


def preparing() -> AbstractContextManager[None]:
    """Prepare the statements of a block: see ``base.DatabaseWrapper.preparing``."""
    ours: Any = connection
    prepared: AbstractContextManager[None] = ours.preparing()
    return prepared
