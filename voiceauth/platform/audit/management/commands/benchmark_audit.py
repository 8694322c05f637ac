"""``manage.py benchmark_audit``: how many events a second several writers append to the trail."""

import multiprocessing
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection, connections, transaction

from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.services import record


class Command(BaseCommand):
    help = (
        "Measure how many events a second several processes append to an audit trail. "
        "Each event has a transaction of its own. The trail is in a database that the command creates, and drops."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--writers", type=int, nargs="+", default=[1, 4, 8])
        parser.add_argument("--seconds", type=float, default=5.0)

    def handle(self, *args: Any, writers: list[int], seconds: float, **options: Any) -> None:
        before = connection.settings_dict["NAME"]
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            for number in writers:
                counts, spent = zip(*_append_together(number, seconds), strict=True)
                self.stdout.write(
                    f"{number} writers: {sum(counts) / seconds:,.0f} events a second, "
                    f"{1000 * sum(spent) / sum(counts):.2f} ms of the writers' processor time each"
                )
            report = chain.verify()
            state = "intact" if report.intact else "BROKEN"
            self.stdout.write(f"the trail of {report.count:,} events is {state}")
        finally:
            connections.close_all()
            connection.creation.destroy_test_db(before, verbosity=0)


def _append_together(writers: int, seconds: float) -> list[tuple[int, float]]:
    """How many events each writer committed, and the processor seconds that it took."""
    connections.close_all()  # a connection must not be shared with a fork
    context = multiprocessing.get_context("fork")
    with context.Pool(writers) as pool:
        return pool.map(_append, [seconds] * writers, chunksize=1)


def _append(seconds: float) -> tuple[int, float]:
    with transaction.atomic():
        record(action="audit.benchmark", actor=SYSTEM)  # connects, and is not counted
    count, begun, ends = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < ends:
        with transaction.atomic():
            record(
                action="audit.benchmark", actor=SYSTEM, customer_id="C-1", data={"probability": 0.5, "number": count}
            )
        count += 1
    return count, time.process_time() - begun
