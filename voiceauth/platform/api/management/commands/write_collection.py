"""``manage.py write_collection``: the API as a Postman collection."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from voiceauth.platform.api import collection

COLLECTION = settings.BASE_DIR / "docs" / "voiceauth.postman_collection.json"


class Command(BaseCommand):
    help = "Write the API as a Postman collection, which Bruno and Insomnia import too."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("path", nargs="?", type=Path, default=COLLECTION)

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        """Run the command."""
        path.write_text(collection.text(), encoding="utf-8")
        self.stdout.write(f"Wrote {path}.")
