"""``manage.py reset_second_factor``: remove the second factor of somebody who lost it."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.errors import DomainError
from voiceauth.review.sign_in.services import reset


class Command(BaseCommand):
    help = "Remove the second factor of a person who lost it, and end their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the name that the person signs in with")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.")
        try:
            reset(user=user, actor=SYSTEM)
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{name} has no second factor any more.")
