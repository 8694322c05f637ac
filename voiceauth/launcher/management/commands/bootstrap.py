"""``manage.py bootstrap``: what the first run needs, once. ``serve`` calls it at every start."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from voiceauth.platform.api.clients import create_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.retraining.base_model import install_base_model
from voiceauth.review.roles import ensure_groups

CLIENTS = {"teller-app": "teller", "ivr": "ivr", "reviewer-app": "reviewer", "operator": "admin"}
LOGIN = "admin"


class Command(BaseCommand):
    help = (
        "Create the first admin login and one API client a role, unless there are some, and show their secrets once; "
        "register the model that ships, which a fresh install has in service at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            ensure_groups()
            password = _create_login()
            tokens = _create_clients()
        if model := install_base_model():
            self.stdout.write(f"registered the model that ships, {model.version}: {model.get_state_display()}")
        if password or tokens:
            self._show(password, tokens)

    def _show(self, password: str, tokens: dict[str, str]) -> None:
        lines = ["Shown this once: only hashes are stored. Keep them in your password store."]
        if password:
            lines += ["", f"dashboard     {LOGIN} / {password}"]
        lines += ["", *(f"{name:<13} {token}" for name, token in tokens.items())] if tokens else []
        lines += ["", "another:  manage.py create_api_client NAME --role teller|ivr|reviewer|admin|auditor"]
        lines += ["revoke:   manage.py revoke_api_client NAME", "password: manage.py changepassword admin"]
        width = max(map(len, lines))
        edge = "+" + "-" * (width + 2) + "+"
        self.stdout.write("\n".join([edge, *(f"| {line:<{width}} |" for line in lines), edge]))


def _create_login() -> str:
    """The password of a new superuser; empty where one exists."""
    if User.objects.filter(is_superuser=True).exists():
        return ""
    password = secrets.token_urlsafe(18)
    User.objects.create_superuser(username=LOGIN, password=password)
    return password


def _create_clients() -> dict[str, str]:
    """Tokens by client name; empty where any client was ever made."""
    if ApiClient.objects.exists():
        return {}
    return {name: create_client(name=name, role=role, actor=SYSTEM)[1] for name, role in CLIENTS.items()}
