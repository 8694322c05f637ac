"""``manage.py benchmark_promotion``: how long the voiceprints of all customers take under another model."""

import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from voiceauth.benchmarks.callers import ENVIRONMENT, Callers
from voiceauth.benchmarks.promoting import promoted
from voiceauth.benchmarks.service import ServiceFailed, running


class Command(BaseCommand):
    help = "Measure how many customers an hour a promotion embeds again, in a service of its own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=100, help="(default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # or it would print every request
        number = options["customers"]
        try:
            with running(**ENVIRONMENT) as service:
                Callers(service, customers=number).close()
                found = promoted(service)
        except ServiceFailed as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{number} customers in {found.seconds:.1f} s: {3600 * number / found.seconds:.0f} an hour")
        self.stdout.write(
            f"processor time of a customer, all processes: {1000 * found.processor_seconds / number:.0f} ms"
        )
