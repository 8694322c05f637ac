"""``manage.py verify_audit_trail``: check the hash chains of the audit trail."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import TrailBroken, record


class Command(BaseCommand):
    help = (
        "Verify the audit trail: no row changed, removed or slipped in. Prints the anchor SEQUENCE:HASH of its end; "
        "keep it elsewhere and pass it with --anchor next time. Exits with 1 where the trail is broken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anchor", action="append", default=[], metavar="SEQUENCE:HASH")
        parser.add_argument("--no-record", action="store_true", help="leave no audit.verified event in the trail")

    def handle(self, *args: Any, anchor: list[str], no_record: bool, **options: Any) -> None:
        try:
            anchors = [chain.Anchor.parse(text) for text in anchor]
        except ValueError as error:
            raise CommandError(str(error)) from error
        report = chain.verify(anchors=anchors)
        event = None if no_record else self._record(report)
        for finding in report.findings:
            self.stderr.write(self.style.ERROR(f"{finding.kind}: {finding.message}"))
        if not report.intact:
            raise CommandError(f"The audit trail is broken ({report.count} rows read).", returncode=1)
        end = report.last if event is None else chain.Anchor.of(event)
        self.stdout.write(f"The audit trail is intact: {report.count} rows.\nanchor {end}")

    def _record(self, report: chain.Report) -> AuditEvent | None:
        kinds = sorted({finding.kind for finding in report.findings})
        try:
            with transaction.atomic():
                return record(
                    action="audit.verified",
                    actor=SYSTEM,
                    outcome=AuditEvent.Outcome.SUCCESS if report.intact else AuditEvent.Outcome.FAILED,
                    data={"rows": report.count, "anchor": str(report.last), "findings": kinds},
                )
        except TrailBroken as error:
            self.stderr.write(f"This verification is not recorded: {error}.")
        return None
