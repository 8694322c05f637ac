"""``manage.py rotate_api_client``: a new token for an API client."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.platform.api.clients import rotate_client
from voiceauth.platform.api.management.options import add_lifetime
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = "Give an API client a new token and print it once; the old token ends after the overlap."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--overlap", type=float, default=24, metavar="HOURS", help="default: 24")
        add_lifetime(parser)

    def handle(self, *args: Any, name: str, overlap: float, expires_days: timedelta | None, **options: Any) -> None:
        if not 0 <= overlap <= 720:
            raise CommandError("--overlap must lie between 0 and 720 hours")
        try:
            client, token = rotate_client(
                name=name, actor=SYSTEM, overlap=timedelta(hours=overlap), expires_in=expires_days
            )
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stderr.write(f"The old token of {client} is taken until {client.previous_expires_at:%Y-%m-%d %H:%M} UTC.")
        self.stdout.write(token)
