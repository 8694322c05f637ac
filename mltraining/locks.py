"""The lock between those who write voiceprints and a promotion's switch to another model."""

from django.db import connection

LOCK = 0x564F4943  # an arbitrary number: one advisory lock for everything that a promotion makes anew


def lock_gallery(*, shared: bool) -> None:
    """Hold the lock until the transaction ends: enrollments share it, and a promotion's switch holds it alone.

    Whoever shares it and has read which model is active can rely on that until the commit.
    """
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [LOCK])
