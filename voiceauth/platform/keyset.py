"""Lists are read by cursor, so that rows which come, go or leave the filter meanwhile make none appear twice or never.

A page begins after the last row of the page before, by the values that the list is ordered by ("keyset" or "seek"
pagination). A page number counts rows instead, and what it counts moves; the database also has to read all rows up to
the page.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from django.db.models import Field, Model, Q, QuerySet

from voiceauth.platform import vault

MOST_COUNTED = 1000  # rows; counting a million of them takes longer than all the rest of a page


class InvalidCursor(ValueError):
    """The cursor was not made for this list."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The rows of one page, and the cursors of its neighbours; ``None`` where there is none."""

    rows: list[Any]
    previous: str | None
    next: str | None


def page_of(queryset: QuerySet[Any], *, size: int, cursor: str | None, path: str) -> Page:
    """Read the page of ``size`` rows that ``cursor`` stands for, or the first one.

    A cursor is sealed, because it holds identifiers of customers and URLs end up in the logs of proxies. It belongs to
    the list at ``path``. Raises ``InvalidCursor``.
    """
    order = order_of(queryset)
    backwards, values = (False, None) if cursor is None else _opened(cursor, path)
    towards = _reversed(order) if backwards else order
    rows = queryset.order_by(*towards)
    if values is not None:
        rows = rows.filter(_after(queryset.model, towards, values))
    found = list(rows[: size + 1])
    there_is_more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    has_previous, has_next = (there_is_more, True) if backwards else (values is not None, there_is_more)
    return Page(
        rows=found,
        previous=cursor_at(found[0], order, path, backwards=True) if found and has_previous else None,
        next=cursor_at(found[-1], order, path) if found and has_next else None,
    )


def count_of(queryset: QuerySet[Any]) -> int | None:
    """Count the rows, if they are no more than ``MOST_COUNTED``; ``None`` if there are more."""
    count = queryset.order_by().values("pk")[: MOST_COUNTED + 1].count()
    return count if count <= MOST_COUNTED else None


def order_of(queryset: QuerySet[Any]) -> list[str]:
    """Return the order of the list, down to a value that no two rows share."""
    order = [str(name) for name in queryset.query.order_by or queryset.model._meta.ordering or ()]
    if not order or not _field(queryset.model, order[-1]).unique:
        order.append(queryset.model._meta.pk.name)
    return order


def cursor_at(row: Model, order: list[str], path: str, *, backwards: bool = False) -> str:
    """Return the cursor of the page that begins after ``row``; ``backwards``: that ends before it."""
    values = [_field(type(row), name).value_to_string(row) for name in order]
    content = json.dumps({"before" if backwards else "after": values}).encode()
    sealed = vault.seal(vault.derived_key("cursor"), content, f"cursor:{path}")
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _opened(cursor: str, path: str) -> tuple[bool, list[str]]:
    """Return whether the page ends before the values, and the values."""
    try:
        sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        content = json.loads(vault.unseal(vault.derived_key("cursor"), sealed, f"cursor:{path}"))
    except (binascii.Error, UnicodeError, ValueError, vault.Unsealable) as error:
        raise InvalidCursor from error
    return "before" in content, content.get("before") or content["after"]


def _reversed(order: list[str]) -> list[str]:
    return [name[1:] if name.startswith("-") else f"-{name}" for name in order]


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    name = name.removeprefix("-")
    return model._meta.pk if name == "pk" else model._meta.get_field(name)  # type: ignore[return-value]


def _after(model: type[Model], order: list[str], texts: list[str]) -> Q:
    """Return the condition of the rows behind the one with these values.

    They are greater in the first field, or equal there and greater in the next. The first field's bound is said once
    more by itself: it is the one part that PostgreSQL looks up in an index, instead of reading the rows before.
    """
    behind, equal, bound = Q(), Q(), Q()
    for name, text in zip(order, texts, strict=True):
        field = _field(model, name)
        value = field.to_python(text)
        further = "lt" if name.startswith("-") else "gt"
        bound = bound or Q(**{f"{field.name}__{further}e": value})
        behind |= equal & Q(**{f"{field.name}__{further}": value})
        equal &= Q(**{field.name: value})
    return bound & behind
