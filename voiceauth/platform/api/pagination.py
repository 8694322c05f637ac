"""Lists are read by cursor, so that rows which come, go or leave the filter meanwhile make none appear twice or never.

A page begins after the last row of the page before, by the values that the list is ordered by ("keyset" or "seek"
pagination). A page number counts rows instead, and what it counts moves.
"""

import base64
import binascii
import json
import re
from typing import Any

from django.db.models import Field, Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from voiceauth.platform import vault


class Pages(BasePagination):
    """``?page_size=100``: 50 a page unless told, at most 200; ``next`` in the answer leads to the next page.

    The cursor in ``next`` is sealed: it holds identifiers of customers, and URLs end up in the logs of proxies.
    """

    page_size = 50
    max_page_size = 200

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:
        """Return the rows of one page. Raises ``ValidationError`` for a size or a cursor that is none."""
        if "page" in request.query_params:
            raise ValidationError({"page": ["Pages have no numbers: follow `next`."]})
        size, order = self._size(request), _order(queryset)
        self.count = queryset.count()
        rows = queryset.order_by(*order)
        if (cursor := request.query_params.get("cursor")) is not None:
            rows = rows.filter(_after(queryset.model, order, _opened(cursor, request.path)))
        page = list(rows[: size + 1])
        self.next = None
        if len(page) > size:
            page.pop()
            cursor = _sealed(_values(page[-1], order), request.path)
            self.next = replace_query_param(request.build_absolute_uri(), "cursor", cursor)
        return page

    def _size(self, request: Request) -> int:
        given = request.query_params.get("page_size", str(self.page_size))
        if re.fullmatch("[0-9]{1,3}", given) and 1 <= (size := int(given)) <= self.max_page_size:
            return size
        raise ValidationError({"page_size": [f"A whole number from 1 to {self.max_page_size}."]})

    def get_paginated_response(self, data: Any) -> Response:
        """Answer with the page and the way to the next one."""
        return Response({"count": self.count, "next": self.next, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the answer."""
        return {
            "type": "object",
            "required": ["count", "next", "results"],
            "properties": {
                "count": {"type": "integer", "description": "Rows on all pages, at this moment."},
                "next": {
                    "type": "string",
                    "format": "uri",
                    "nullable": True,
                    "description": "The address of the next page; null on the last one.",
                },
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Describe the query parameters."""
        size = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "Where the page begins: take it from `next`. It belongs to this list.",
                "schema": {"type": "string"},
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "How many rows a page has.",
                "schema": size,
            },
        ]


def _order(queryset: QuerySet[Any]) -> list[str]:
    """The order of the list, down to a value that no two rows share."""
    order = [str(name) for name in queryset.query.order_by or queryset.model._meta.ordering or ()]
    if not order or not _field(queryset.model, order[-1]).unique:
        order.append(queryset.model._meta.pk.name)
    return order


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    return model._meta.get_field(name.removeprefix("-"))  # type: ignore[return-value]


def _values(row: Model, order: list[str]) -> list[str]:
    return [_field(type(row), name).value_to_string(row) for name in order]


def _after(model: type[Model], order: list[str], texts: list[str]) -> Q:
    """The rows behind the one with these values: greater in the first field, or equal there and greater in the next."""
    behind, equal = Q(), Q()
    for name, text in zip(order, texts, strict=True):
        field = _field(model, name)
        value = field.to_python(text)
        further = "lt" if name.startswith("-") else "gt"
        behind |= equal & Q(**{f"{field.name}__{further}": value})
        equal &= Q(**{field.name: value})
    return behind


def _sealed(values: list[str], path: str) -> str:
    sealed = vault.seal(vault.derived_key("cursor"), json.dumps(values).encode(), f"cursor:{path}")
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _opened(cursor: str, path: str) -> list[str]:
    try:
        sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return json.loads(vault.unseal(vault.derived_key("cursor"), sealed, f"cursor:{path}"))
    except (binascii.Error, UnicodeError, ValueError, vault.Unsealable) as error:
        raise ValidationError({"cursor": ["Take it from `next`, as it is there."]}) from error
