"""``manage.py rotate_keys``: bring every data key under the current master key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError
from voiceauth.platform.vault import keyring, rotation
from voiceauth.platform.vault.providers import NotRenewable

PASSES = 3  # a process that began before the new key was current may still wrap under the old one
STEP = 1000  # data keys between two lines of progress


class Command(BaseCommand):
    help = (
        "Bring every data key under the current master key, while the service runs. Safe to stop and to repeat. "
        "Where --check says that nothing remains, the other master keys can be taken away."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--new", action="store_true", help="first make a new master key and use it from now on")
        parser.add_argument("--check", action="store_true", help="only count; exits with 1 where something remains")

    def handle(self, *args: Any, new: bool, check: bool, **options: Any) -> None:
        try:
            failures = [] if check else self._rotate(new)
            remaining = self._count()
        except NotRenewable as error:
            raise CommandError(f"The service cannot make this master key. {error}") from error
        except DomainError as error:
            raise CommandError(error.detail) from error
        if failures:
            named = ", ".join(failures[:20]) + (", …" if len(failures) > 20 else "")
            raise CommandError(f"{len(failures)} data keys cannot be opened: {named}", returncode=1)
        if remaining:
            raise CommandError(f"{remaining} data keys remain under other master keys.", returncode=1)
        self.stdout.write("Nothing remains under another master key.")

    def _rotate(self, new: bool) -> list[str]:
        before = dict(rotation.wrapped_under())
        if new:
            self.stdout.write(f"made master key {keyring.providers()[0].renew()}")
        failures: list[str] = []
        for _ in range(PASSES):
            failures = rotation.rewrap(self._progress)
            if rotation.remaining() == len(failures):
                break
        with transaction.atomic():
            record(
                action="master_key.rotated",
                actor=SYSTEM,
                outcome="failed" if failures else "success",
                target=f"master_key:{keyring.current_id()}",
                before=before,
                after=dict(rotation.wrapped_under()),
            )
        return failures

    def _progress(self, done: int) -> None:
        if done % STEP == 0:
            self.stdout.write(f"{done} wrapped anew, {rotation.remaining()} remain")

    def _count(self) -> int:
        current = keyring.current_id()
        for key_id, count in sorted(rotation.wrapped_under().items()):
            self.stdout.write(f"{count} data keys under {key_id}{' (current)' if key_id == current else ''}")
        return rotation.remaining()
