"""Filters of lists."""

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField

PAGE_PARAMETERS = {"cursor", "page_size"}


class MomentField(IsoDateTimeField):
    """A moment in UTC: PostgreSQL reads no offset beyond ±15:59, which ISO 8601 may carry."""

    def clean(self, value: Any) -> datetime | None:
        """Return the moment in UTC. Raises ``ValidationError``."""
        moment = super().clean(value)
        try:
            return moment.astimezone(UTC) if moment else None
        except OverflowError as error:
            raise ValidationError("Out of range.", code="invalid") from error


class MomentFilter(filters.IsoDateTimeFilter):
    """Filters by a moment, in ISO 8601."""

    field_class = MomentField


class StrictFilterSet(filters.FilterSet):
    """Refuses unknown and empty query parameters: a misspelt filter must not answer with everything."""

    def get_form_class(self) -> Any:
        """Return the form, with a check for parameters that no filter has."""
        known = set(self.filters) | PAGE_PARAMETERS

        class StrictForm(super().get_form_class()):  # type: ignore[misc]
            def clean(form) -> Any:
                for name, value in sorted(form.data.items()):
                    if name not in known:
                        form.errors[name] = form.error_class([ValidationError("Unknown filter.", code="unknown")])
                    elif value == "":
                        form.errors[name] = form.error_class([ValidationError("Empty filter.", code="empty")])
                return super().clean()

        return StrictForm
