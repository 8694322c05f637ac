"""The screening app: the default watchlist is there after every migration."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from voiceauth.platform.api.roles import roles_with


class ScreeningConfig(AppConfig):
    """Registers what needs a second person and how erasures are repeated, and makes the default watchlist."""

    name = "voiceauth.screening"
    verbose_name = "Screening"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from voiceauth.platform.approvals.registry import Action, register
        from voiceauth.screening import watchlists

        watchlists.register_erasures()
        register(
            Action(
                name=watchlists.DELETE_WATCHLIST,
                label="Delete a watchlist",
                approvers=roles_with("watchlists:write"),
                execute=lambda approval, actor: watchlists.delete_watchlist(**approval.parameters, actor=actor),
            )
        )
        post_migrate.connect(_make_default_watchlist, sender=self)


def _make_default_watchlist(**_: Any) -> None:
    from voiceauth.screening.models import Watchlist

    Watchlist.objects.get_or_create(is_default=True, defaults={"name": "default"})
