"""``manage.py store_models``: put into the bucket what is only in this machine's folder."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltraining import model_store, registry


class Command(BaseCommand):
    """Store the models of this machine."""

    help = (
        "Store the registered models that are in VOICEAUTH_MODELS_DIR and not in VOICEAUTH_MODELS_STORAGE. Run it once "
        "after the bucket was named. What is stored already stays as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take versions to store again."""
        parser.add_argument("again", metavar="VERSION", nargs="*", help="store this version even so: its files changed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the versions that were stored."""
        if not model_store.is_used():
            raise CommandError("VOICEAUTH_MODELS_STORAGE is not set. Name the bucket: s3://bucket/prefix.")
        try:
            for version in registry.store_missing(options["again"]):
                self.stdout.write(version)
        except model_store.StoreError as error:
            raise CommandError(f"model_store: {error}") from error
