from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.api.clients import create_client
from voiceauth.api.models import ApiClient
from voiceauth.audit import SYSTEM
from voiceauth.errors import DomainError


class Command(BaseCommand):
    help = "Create an API client and print its token on stdout, this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", required=True, choices=ApiClient.Role.values)
        parser.add_argument("--expires-days", type=int, help="the token ends after this many days")

    def handle(self, *args: Any, name: str, role: str, expires_days: int | None, **options: Any) -> None:
        if expires_days is not None and expires_days < 1:
            raise CommandError("--expires-days must be at least 1")
        expires_in = timedelta(days=expires_days) if expires_days else None
        try:
            client, token = create_client(name=name, role=role, actor=SYSTEM, expires_in=expires_in)
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stderr.write(f"Client {client}; its token is shown only now:")
        self.stdout.write(token)
