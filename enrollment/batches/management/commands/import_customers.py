"""``manage.py import_customers FOLDER``: a batch enrollment from a folder, in the foreground."""

import io
import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.core.management.base import BaseCommand, CommandError

from enrollment.batches import processing, services
from enrollment.batches.models import BatchEnrollment, BatchResult
from enrollment.models import Consent
from voiceauth.platform.api.uploads import FORMATS
from voiceauth.platform.audit import Actor
from voiceauth.platform.jobs import services as jobs

OPERATOR = Actor(name="import_customers", role="system")
TURN_SECONDS = 2.0


class Command(BaseCommand):
    help = "Enroll the customers of FOLDER: one subfolder with recordings for each, named by the customer's identifier."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER")
        parser.add_argument("--text-version", required=True, help="which text the customers agreed to")
        parser.add_argument("--origin", required=True, help="where they agreed: branch, phone, app, web, …")
        parser.add_argument("--channel", default="", help="of recordings whose channels differ: left, right, mono, …")
        parser.add_argument("--format", default="", choices=FORMATS, help="of recordings without a header")
        parser.add_argument("--purpose", choices=Consent.Purpose.values, default=Consent.Purpose.VOICE_AUTHENTICATION)
        parser.add_argument(
            "--existing", choices=BatchEnrollment.Existing.values, default=BatchEnrollment.Existing.SKIP
        )

    def handle(self, *args: Any, folder: Path, existing: str, **options: Any) -> None:
        if not folder.is_dir():
            raise CommandError(f"{folder} is no folder.")
        consent = {name: options[name] for name in ("purpose", "text_version", "origin")}
        manifest = _manifest(folder, consent, {name: options[name] for name in ("channel", "format")})
        if not manifest:
            raise CommandError(f"{folder} has no subfolder with recordings.")
        batch = services.submit_folder(
            folder=str(folder.resolve()), manifest=manifest, existing=existing, actor=OPERATOR
        )
        self._carry_out(batch, FileSystemStorage(location=folder))
        self._report(batch)

    def _carry_out(self, batch: BatchEnrollment, storage: FileSystemStorage) -> None:
        from tqdm import tqdm

        with tqdm(unit="customer", file=self.stderr) as bar:

            def on_progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            while batch.is_open:
                if not processing.execute(batch.id, storage=storage, on_progress=on_progress):
                    jobs.recover_kind(BatchEnrollment)  # whoever was at it may have been killed
                    time.sleep(TURN_SECONDS)  # another batch is under way
                batch.refresh_from_db()

    def _report(self, batch: BatchEnrollment) -> None:
        failures = batch.results.filter(state=BatchResult.State.FAILED)
        for result in failures.iterator():
            self.stderr.write(f"{result.customer_id or f'line {result.line}'}: {result.code}: {result.message}")
        counts = (
            f"{batch.enrolled} enrolled, {batch.enrolling} enrolling, {batch.skipped} skipped, {batch.failed} failed"
        )
        if batch.state != BatchEnrollment.State.SUCCEEDED or batch.failed:
            raise CommandError(f"{batch.error_message or batch.state} ({counts})")
        self.stdout.write(counts)


def _manifest(folder: Path, consent: dict[str, str], options: dict[str, str]) -> bytes:
    lines = io.BytesIO()
    for customer in sorted(path for path in folder.iterdir() if path.is_dir()):
        audio = sorted(path.relative_to(folder).as_posix() for path in customer.iterdir() if path.is_file())
        audio = [location for location in audio if not Path(location).name.startswith(".")]
        if audio:
            line = {"customer_id": customer.name, "audio": audio, "consent": consent, **options}
            lines.write(json.dumps(line).encode() + b"\n")
    return lines.getvalue()
