"""``manage.py list_api_clients``: the API clients and the state of their tokens."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from voiceauth.platform.api.models import ApiClient


class Command(BaseCommand):
    help = "List the API clients; with --attention, those whose token has expired or soon will (exit 1)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--attention", action="store_true")

    def handle(self, *args: Any, attention: bool, **options: Any) -> None:
        clients = list(ApiClient.objects.all())
        if attention:
            clients = [client for client in clients if client.status in {"expired", "expires soon"}]
        for client in clients:
            times = f"expires {_day(client.expires_at)}, last used {_day(client.last_used_at)}"
            limited = f", limited to {' '.join(client.scopes)}" if client.scopes else ""
            self.stdout.write(f"{client.name}: {client.role}, {client.status}, {times}{limited}")
        if attention and clients:
            raise SystemExit(1)


def _day(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d}"
