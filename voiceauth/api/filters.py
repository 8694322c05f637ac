"""Filters of lists."""

from typing import Any

from django.core.exceptions import ValidationError
from django_filters import rest_framework as filters

PAGE_PARAMETERS = {"page", "page_size"}


class StrictFilterSet(filters.FilterSet):
    """Refuses query parameters that it does not know: a misspelt filter must not answer with everything."""

    def get_form_class(self) -> Any:
        known = set(self.filters) | PAGE_PARAMETERS

        class StrictForm(super().get_form_class()):  # type: ignore[misc]
            def clean(form) -> Any:
                for name in sorted(set(form.data) - known):
                    form.errors[name] = form.error_class([ValidationError("Unknown filter.", code="unknown_filter")])
                return super().clean()

        return StrictForm
