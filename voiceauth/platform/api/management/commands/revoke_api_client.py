"""``manage.py revoke_api_client``: refuse a client's token from now on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.platform.api.clients import revoke_client
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError


class Command(BaseCommand):
    help = "Refuse the token of an API client from now on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        try:
            client = revoke_client(name=name, actor=SYSTEM)
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"Client {client} is revoked.")
