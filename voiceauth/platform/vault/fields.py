"""The column that holds a wrapped data key."""

from typing import Any

from django.db import models


class WrappedKeyField(models.BinaryField):
    """A data key, wrapped under a master key in the context ``<owner>:<primary key>``; empty where it is destroyed.

    ``rotation`` finds every model that has one.
    """

    def __init__(self, owner: str, **options: Any) -> None:
        self.owner = owner
        super().__init__(**options)

    def deconstruct(self) -> Any:
        """Return what a migration needs, with the owner as an argument."""
        name, path, args, options = super().deconstruct()
        return name, path, [self.owner, *args], options

    def context(self, pk: Any) -> str:
        """Return the context that the data key of the row ``pk`` is wrapped in."""
        return f"{self.owner}:{pk}"
