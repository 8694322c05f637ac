"""``manage.py limit_api_client``: rates of its own for an API client."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.platform.api.clients import set_rate_limits
from voiceauth.platform.api.management.options import add_rates
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = "Give an API client rates of its own; without --rate, those of the settings again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        add_rates(parser)

    def handle(self, *args: Any, name: str, rate: list[tuple[str, int]], **options: Any) -> None:
        try:
            client = set_rate_limits(name=name, rate_limits=dict(rate), actor=SYSTEM)
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"Client {client}: {client.rate_limits or 'the rates of the settings'}")
