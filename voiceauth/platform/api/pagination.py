"""Pages of the API's lists, read by cursor: see ``keyset``."""

import re
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from voiceauth.platform import keyset


class Pages(BasePagination):
    """``?page_size=100``: 50 a page unless told, at most 200; ``next`` in the answer leads to the next page."""

    page_size = 50
    max_page_size = 200

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:
        """Return the rows of one page. Raises ``ValidationError`` for a size or a cursor that is none."""
        if "page" in request.query_params:
            raise ValidationError({"page": ["Pages have no numbers: follow `next`."]})
        self.count = keyset.count_of(queryset)
        cursor = request.query_params.get("cursor")
        try:
            page = keyset.page_of(queryset, size=self._size(request), cursor=cursor, path=request.path)
        except keyset.InvalidCursor as error:
            raise ValidationError({"cursor": ["Take it from `next`, as it is there."]}) from error
        self.next = page.next and replace_query_param(request.build_absolute_uri(), "cursor", page.next)
        return page.rows

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
                "count": {
                    "type": "integer",
                    "nullable": True,
                    "description": "Rows on all pages, at this moment; "
                    f"null where there are more than {keyset.MOST_COUNTED:,}.",
                },
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
