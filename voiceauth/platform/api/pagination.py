"""Pages of lists."""

import re
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """``?page=2&page_size=100``: 50 a page unless told, at most 200. Any other size is refused, not corrected."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_page_size(self, request: Any) -> int:
        """Return the size of a page. Raises ``ValidationError`` for one that is out of range."""
        given = request.query_params.get(self.page_size_query_param, str(self.page_size))
        if re.fullmatch("[0-9]{1,3}", given) and 1 <= (size := int(given)) <= self.max_page_size:
            return size
        raise ValidationError({"page_size": [f"A whole number from 1 to {self.max_page_size}."]})

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Describe the parameters with their limits."""
        parameters = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            parameter["schema"]["minimum"] = 1
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {"maximum": self.max_page_size, "default": self.page_size}
        return parameters
