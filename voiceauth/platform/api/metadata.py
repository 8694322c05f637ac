"""What OPTIONS answers: the header ``Allow``, and nothing else. The OpenAPI document says more."""

from typing import Any

from rest_framework.metadata import BaseMetadata


class AllowedMethods(BaseMetadata):
    """An empty body. DRF adds ``Allow`` to every answer."""

    def determine_metadata(self, request: Any, view: Any) -> None:
        """Describe nothing."""
