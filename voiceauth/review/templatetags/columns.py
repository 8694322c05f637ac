"""The names of columns in each cell, by which a list is read where it is too narrow for a table."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()


@register.filter
def labelled(cells: Iterable[SafeString], headers: Iterable[Mapping[str, Any]]) -> Iterator[SafeString]:
    """Yield the cells of one row, ``<td …>`` or ``<th …>`` as the admin makes them, each with its ``data-label``."""
    for cell, header in zip(cells, headers, strict=True):
        label = format_html(' data-label="{}"', capfirst(header["text"]))
        yield mark_safe(f"{cell[:3]}{label}{cell[3:]}")  # noqa: S308  the admin's own cell, and an escaped name
