"""How a list is read: a page by cursor, and filters that ask no more of the database than a page does."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, ChangeList
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from voiceauth.platform import keyset


class KeysetList(ChangeList):
    """The rows of one page, and the addresses of its neighbours. Rows are counted up to ``keyset.MOST_COUNTED``."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Sort as the address asks for by the columns in ``sortable_by`` alone: they have an index, and no nulls."""
        columns = {str(index) for index, name in enumerate(self.list_display) if name in (self.sortable_by or ())}
        if self.params.get(ORDER_VAR, "").removeprefix("-") not in columns:
            self.params.pop(ORDER_VAR, None)
        return list(super().get_ordering(request, queryset))

    def get_results(self, request: HttpRequest) -> None:
        """Read the page that ``?p=`` stands for, or the first one."""
        try:
            page = keyset.page_of(
                self.queryset, size=self.list_per_page, cursor=request.GET.get(PAGE_VAR), path=request.path
            )
        except keyset.InvalidCursor as error:
            raise IncorrectLookupParameters from error
        count = keyset.count_of(self.queryset)
        self.result_list: Any = page.rows
        self.result_count = keyset.MOST_COUNTED + 1 if count is None else count
        self.counted = f"more than {keyset.MOST_COUNTED:,}" if count is None else f"{count:,}"
        self.is_first_page = page.previous is None
        self.first_page = self.get_query_string()
        self.previous_page = page.previous and self.get_query_string({PAGE_VAR: page.previous})
        self.next_page = page.next and self.get_query_string({PAGE_VAR: page.next})
        self.full_result_count = None
        self.show_full_result_count = self.show_admin_actions = self.can_show_all = self.multi_page = False


class ValuesFilter(admin.AllValuesFieldListFilter):
    """The values of a column that an index begins with: one step in the index for each, however many rows there are."""

    def __init__(self, field: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, request, *args, **kwargs)
        self.lookup_choices = distinct_values(field.model, field.column)  # type: ignore[assignment]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Offer the values, and “none” for the empty text."""
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or "none"}


def distinct_values(model: type[Model], column: str) -> list[Any]:
    """Return the values of ``column``, in order: PostgreSQL's own DISTINCT would read every row."""
    quoted, table = connection.ops.quote_name(column), connection.ops.quote_name(model._meta.db_table)
    steps = f"""
        WITH RECURSIVE found AS (
            (SELECT {quoted} AS value FROM {table} ORDER BY {quoted} LIMIT 1)
            UNION ALL
            SELECT (SELECT {quoted} FROM {table} WHERE {quoted} > found.value ORDER BY {quoted} LIMIT 1)
            FROM found WHERE found.value IS NOT NULL
        )
        SELECT value FROM found WHERE value IS NOT NULL"""  # noqa: S608  names of our own tables
    with connection.cursor() as cursor:
        cursor.execute(steps)
        return [value for (value,) in cursor.fetchall()]


class Span(forms.Form):
    """The first and the last day."""

    since = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}), label="From")
    until = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}), label="To")


class DaysFilter(admin.FieldListFilter):
    """The rows from one day to another, both included."""

    template = "review/days.html"

    def __init__(self, field: Any, request: HttpRequest, params: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(field, request, params, *args, **kwargs)
        given: dict[str, Any] = dict(self.used_parameters)
        self.form = Span({name: values[-1] for name, values in given.items()})

    def expected_parameters(self) -> list[str | None]:
        """Name the parameters of the address."""
        return ["since", "until"]

    def has_output(self) -> bool:
        """Always offer the filter."""
        return True

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Offer the latest days, and keep the other parameters of the address in the form."""
        kept = {name: values for name, values in changelist.filter_params.items() if name not in ("since", "until")}
        yield {"kept": [(name, value) for name, values in kept.items() for value in values]}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Select the rows, by moments, which have an index."""
        if not self.form.is_valid():
            raise IncorrectLookupParameters
        since, until = self.form.cleaned_data["since"], self.form.cleaned_data["until"]
        if since:
            queryset = self.since(queryset, _midnight(since))
        if until:
            queryset = self.before(queryset, _midnight(until + timedelta(days=1)))
        return queryset

    def since(self, queryset: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        """Select the rows at ``moment`` and after it."""
        return queryset.filter(**{f"{self.field_path}__gte": moment})

    def before(self, queryset: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        """Select the rows before ``moment``."""
        return queryset.filter(**{f"{self.field_path}__lt": moment})


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
