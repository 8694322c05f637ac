"""Erasing a customer's voice. A room above that keeps something of a customer registers how it forgets it."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.db import transaction

from enrollment.models import Customer

Forget = Callable[[Customer], dict[str, int]]  # deletes what a room keeps; counts by name, like call_recordings

_exports: list[Callable[[UUID], None]] = []
_rooms: dict[str, Forget] = {}


def register(room: str, forget: Forget) -> None:
    """Have ``forget`` called, in the erasing transaction, for every customer whose voice is erased."""
    _rooms[room] = forget


def register_export(forget: Callable[[UUID], None]) -> None:
    """Have ``forget`` called, after the commit, wherever one of a customer's recordings is removed."""
    _exports.append(forget)


def forget_exports(customer: Customer) -> None:
    """After the commit: copies of the customer's recordings that rooms above have made are removed."""
    for forget in _exports:
        transaction.on_commit(partial(forget, customer.pk))


def forget_everywhere(customer: Customer) -> dict[str, int]:
    """What the rooms above have deleted, by name."""
    counts: dict[str, int] = {}
    for forget in _rooms.values():
        counts |= forget(customer)
    forget_exports(customer)
    return counts
