"""``manage.py benchmark_pages``: how soon every list and every page of a row answers in a full database."""

import logging
from argparse import ArgumentParser
from collections import defaultdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection, connections

from voiceauth.review.benchmark import measuring, seeding
from voiceauth.review.roles import PERMISSIONS
from voiceauth.verification.models import Decision

ENOUGH_MILLISECONDS = 200


class Command(BaseCommand):
    help = (
        "Measure every list of the dashboard and of the API beside a million made-up calls. "
        "Each role sees the first page, one in the middle, each filter and each search, in a database of its own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--calls", type=int, default=1_000_000)
        parser.add_argument("--customers", type=int, default=100_000)
        parser.add_argument("--days", type=int, default=30, help="over which the calls are spread")
        parser.add_argument("--repeats", type=int, default=5, help="how often each page is asked for")
        parser.add_argument("--role", action="append", choices=sorted(PERMISSIONS), help="by default: every role")
        parser.add_argument("--keep", action="store_true", help="keep the database for the next run, or use that of it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a table for each role, and each page that took too long."""
        logging.disable(logging.INFO)
        before = connection.settings_dict["NAME"]
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False, keepdb=options["keep"])
        try:
            if not Decision.objects.exists():
                sizes = {name: options[name] for name in ("calls", "customers", "days")}
                seconds = measuring.timed(lambda: seeding.seed(**sizes)).milliseconds / 1000
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM ANALYZE")  # as autovacuum leaves a database
                self.stdout.write(
                    f"{seconds:.0f} s to seed {sizes['calls']:,} calls of {sizes['customers']:,} customers"
                )
            for role in options["role"] or PERMISSIONS:
                self._report(role, measuring.pages(role, options["repeats"]))
        finally:
            connections.close_all()
            connection.creation.destroy_test_db(before, verbosity=0, keepdb=options["keep"])

    def _report(self, role: str, measured: list[measuring.Measured]) -> None:
        """Print a line for each list: its first page, one in the middle, its slowest filter or search."""
        by_page: dict[str, list[measuring.Measured]] = defaultdict(list)
        for each in measured:
            by_page[each.page].append(each)
        self.stdout.write(
            f"\n{role}: milliseconds on the clock, p50 (processor time of web and database) / most; queries"
        )
        for page, found in by_page.items():
            said = [f"{each.variant} {each}" for each in found if each.variant in ("first", "deep", "page")]
            others = [each for each in found if each.variant not in ("first", "deep", "page")]
            if others:
                slowest = max(others, key=lambda each: each.clock)
                said.append(f"slowest of {len(others)} filters and searches {slowest}: {slowest.variant}")
            self.stdout.write(f"{page:<34} {' | '.join(said)}")
        slow = [each for each in measured if each.processor > ENOUGH_MILLISECONDS]
        for each in slow:
            self.stdout.write(f"SLOW {each.page} {each.variant} {each}\n     {each.slowest_query}")
        late = sum(each.clock > ENOUGH_MILLISECONDS for each in measured)
        self.stdout.write(
            f"{len(measured)} pages; p50 above {ENOUGH_MILLISECONDS} ms: {late}, {len(slow)} of the processor"
        )
        most = sorted(each.processor for each in measured)
        self.stdout.write(f"processor time: p50 {most[len(most) // 2]:.0f} ms, most {most[-1]:.0f} ms")
        self.stdout.flush()
