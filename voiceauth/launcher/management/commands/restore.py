"""``manage.py restore``: put a backup back into an empty database, without bringing back who was erased since."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mltraining import model_store, registry
from voiceauth.launcher import backup
from voiceauth.platform.vault.sealing import Unsealable


class Command(BaseCommand):
    help = (
        "Put a backup back into an empty database, and carry out again the erasures that it does not know. The service "
        "must not run."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="what manage.py backup wrote")
        parser.add_argument(
            "--without-journal",
            action="store_true",
            help="the journal of erasures is lost: whoever was erased after the backup comes back",
        )

    def handle(self, *args: Any, folder: Path, without_journal: bool, **options: Any) -> None:
        try:
            restored = backup.restore(folder.resolve(), without_journal=without_journal)
        except (backup.BackupError, Unsealable, LookupError) as error:
            raise CommandError(str(error)) from error
        about, trail = restored.about, restored.trail
        self.stdout.write(
            f"Restored the database of {about.made_at}, {about.recordings} recordings, {about.models} models."
        )
        if without_journal:
            self.stderr.write("Without the journal: erase again by hand whoever was erased after the backup.")
        else:
            self.stdout.write(f"Carried out again {restored.erased_again} erasures that came after the backup.")
        if not trail.intact:
            for finding in trail.findings:
                self.stderr.write(f"{finding.kind}: {finding.message}")
            raise CommandError("The audit trail of the backup is broken.", returncode=1)
        self.stdout.write(f"The audit trail is intact: {trail.count} rows, as the backup's anchor says.")
        try:
            if model_store.is_used():
                registry.store_missing()
        except model_store.StoreError as error:
            message = f"Models of the backup are not in VOICEAUTH_MODELS_STORAGE: {error}. Run store_models later."
            raise CommandError(message) from error
        self.stdout.write(
            "What happened after the backup is lost. Revoke again the API tokens that were revoked since."
        )
