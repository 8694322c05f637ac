"""``manage.py create_api_client``: a new API client and its token."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.platform.api.clients import create_client
from voiceauth.platform.api.management.options import add_lifetime, add_rates
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = "Create an API client and print its token, which is shown only once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", required=True, choices=ApiClient.Role.values)
        parser.add_argument("--scope", action="append", default=[], help="limit it to this scope; may be repeated")
        add_rates(parser)
        add_lifetime(parser)

    def handle(
        self,
        *args: Any,
        name: str,
        role: str,
        scope: list[str],
        rate: list[tuple[str, int]],
        expires_days: timedelta | None,
        **options: Any,
    ) -> None:
        try:
            client, token = create_client(
                name=name, role=role, scopes=scope, rate_limits=dict(rate), actor=SYSTEM, expires_in=expires_days
            )
        except DomainError as error:
            raise CommandError(f"{error.detail} {error.data or ''}".strip()) from error
        self.stderr.write(f"Client {client}; its token is shown only now:")
        self.stdout.write(token)
