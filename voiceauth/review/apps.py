"""The review app: groups are made after every migration, sign-ins are recorded."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ReviewConfig(AppConfig):
    """Makes the groups of the roles after every migration, and records sign-ins."""

    name = "voiceauth.review"
    verbose_name = "Review"

    def ready(self) -> None:
        """Connect what the rooms below call."""
        from voiceauth.review import receivers  # noqa: F401  (connects them)

        post_migrate.connect(_make_groups, sender=self)


def _make_groups(**_: Any) -> None:
    from voiceauth.review.roles import ensure_groups

    ensure_groups()
