"""``manage.py backup``: the database, the recordings and the models as a folder of files, while the service runs."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.launcher import backup
from voiceauth.platform import env


class Command(BaseCommand):
    help = "Write the database, the sealed recordings and the models to a new folder, while the service runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a folder that does not exist yet")

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            about = backup.make(folder.resolve())
        except backup.BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{folder}: the database, {about.recordings} recordings and {about.models} models.")
        self.stdout.write(f"The audit trail ends at {about.anchor or 'no row'}.")
        self.stdout.write(f"Keep apart from it: the master key {about.master_key}, and the journal of erasures.")
        if not env.text("VOICEAUTH_ERASURE_JOURNAL"):
            self.stderr.write(
                "The journal of erasures lies in the state folder and would be lost with it: set "
                "VOICEAUTH_ERASURE_JOURNAL to a folder or a bucket elsewhere."
            )
