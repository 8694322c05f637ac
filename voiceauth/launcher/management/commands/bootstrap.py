"""``manage.py bootstrap``: what the first run needs, once. ``serve`` calls it at every start."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from mltraining.model_store import StoreError
from voiceauth.platform.api.clients import create_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.retraining.base_model import install_base_model
from voiceauth.review.roles import ensure_groups

CLIENTS = {"teller-app": "teller", "ivr": "ivr", "reviewer-app": "reviewer", "operator": "admin"}
LOGIN = "admin"


class Command(BaseCommand):
    """Install the model that ships, then create the first secrets and show them, all of it or nothing."""

    help = (
        "Install the model that ships, create the first login and a client for each role, and show their secrets once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the steps in an order that loses no secret.

        The model comes first, because its installation may fail. The secrets are shown before they are committed: shown
        secrets that do not work can be made again, while nobody can read those that only their hashes are left of.
        """
        try:
            model = install_base_model()
        except StoreError as error:
            raise CommandError(f"model_store: {error}") from error
        if model:
            self.stdout.write(f"installed the model that ships, {model.version}: {model.get_state_display()}")
        with transaction.atomic():
            ensure_groups()
            password, tokens = _create_login(), _create_clients()
            if password or tokens:
                self._show(password, tokens)

    def _show(self, password: str, tokens: dict[str, str]) -> None:
        rule = "-" * 78
        lines = [rule, "Shown this once, because only hashes are stored. Keep them in your password store."]
        if tokens:
            lines += ["", *(f"export {role.upper()}_TOKEN={token}" for role, token in tokens.items())]
        if password:
            lines += ["", f"dashboard login: {LOGIN} / {password}"]
        lines += ["", "More:     manage.py create_api_client NAME --role teller|ivr|reviewer|admin|auditor"]
        lines += ["Revoke:   manage.py revoke_api_client NAME", "Password: manage.py changepassword admin", rule]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def _create_login() -> str:
    """Create the first superuser. Return the password; empty where there is a superuser."""
    if User.objects.filter(is_superuser=True).exists():
        return ""
    password = secrets.token_urlsafe(18)
    User.objects.create_superuser(username=LOGIN, password=password)
    return password


def _create_clients() -> dict[str, str]:
    """Create one client for each role. Return the tokens by role; none where any client was ever made."""
    if ApiClient.objects.exists():
        return {}
    return {role: create_client(name=name, role=role, actor=SYSTEM)[1] for name, role in CLIENTS.items()}
