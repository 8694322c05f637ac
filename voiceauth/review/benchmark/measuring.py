"""Asks for pages as a signed-in person or an API client does, within this process, and takes the time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection, reset_queries
from django.db.models import Model, QuerySet
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.generics import ListAPIView

from enrollment.batches.models import BatchResult
from enrollment.models import AudioSample, Customer
from mltraining.models import ModelVersion
from voiceauth.platform import keyset
from voiceauth.platform.api import clients
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.review.admin.base import ReadOnlyAdmin
from voiceauth.screening.models import Watchlist
from voiceauth.verification.models import Decision

HOST = "localhost"
READS_A_MINUTE = 1_000_000
NOBODY = "nobody-by-this-name"  # a search that finds nothing reads the most
A_CUSTOMER = "C-0001234"  # whom a small database has, too
WORDS = {Customer: [A_CUSTOMER, "ab12", NOBODY]}  # what people search for where it is not an exact value


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What something took: on the clock, and of the processor in this process and in the database's."""

    milliseconds: float
    processor: float
    queries: int
    slowest_query: str
    result: Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a page took, in several rounds."""

    page: str
    variant: str
    rounds: list[Timed]

    @property
    def clock(self) -> float:
        """Milliseconds on the clock, the median."""
        return median(each.milliseconds for each in self.rounds)

    @property
    def processor(self) -> float:
        """Milliseconds of the processor, the median."""
        return median(each.processor for each in self.rounds)

    @property
    def slowest_query(self) -> str:
        """The statement that took the longest."""
        return self.rounds[-1].slowest_query

    def __str__(self) -> str:
        most = max(each.milliseconds for each in self.rounds)
        return f"{self.clock:.0f} ({self.processor:.0f}) / {most:.0f}; {self.rounds[-1].queries}"


def timed(act: Callable[[], Any]) -> Timed:
    """Carry out ``act``, and say what it took."""
    reset_queries()  # Django keeps the last 9,000, and would count none after them
    with CaptureQueriesContext(connection) as captured:
        started, used = time.perf_counter(), _processor_seconds()
        result = act()
        seconds, spent = time.perf_counter() - started, _processor_seconds() - used
    slowest = max(captured.captured_queries, key=lambda query: float(query["time"]), default={"sql": "", "time": ""})
    return Timed(
        milliseconds=1000 * seconds,
        processor=1000 * spent,
        queries=len(captured),
        slowest_query=f"{slowest['time']} s: {slowest['sql'][:1500]}",
        result=result,
    )


def _processor_seconds() -> float:
    """Return the processor time of this process, with that of its database connection where it runs here."""
    with connection.cursor() as cursor:
        pid = cursor.connection.info.backend_pid
    try:
        in_database = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:  # the server runs elsewhere
        in_database = 0.0
    return time.process_time() + in_database


def pages(role: str, repeats: int) -> list[Measured]:
    """Measure all that ``role`` may open."""
    with connection.cursor() as cursor:  # a page must do without the help of further processors
        cursor.execute("SET max_parallel_workers_per_gather = 0")
    return [*_of_dashboard(role, repeats), *_of_api(role, repeats)]


def _of_dashboard(role: str, repeats: int) -> Iterator[Measured]:
    browser = Client(SERVER_NAME=HOST)
    person, _ = User.objects.get_or_create(username=f"benchmark-{role}", is_staff=True)
    person.groups.set([Group.objects.get(name=role)])
    browser.force_login(person)
    yield _measure("overview", "page", browser, reverse("admin:index"), repeats)
    for model, page in admin.site._registry.items():
        if not (isinstance(page, ReadOnlyAdmin) and person.has_perm(f"{model._meta.app_label}.view_{_name(model)}")):
            continue
        address = reverse(f"admin:{model._meta.app_label}_{_name(model)}_changelist")
        first = address
        if model is BatchResult:
            first += f"?batch__id__exact={BatchResult.objects.values_list('batch', flat=True).first()}"
        for variant, query in _variants(person, page, first):
            yield _measure(page.heading, variant, browser, address + query, repeats)
        if (row := _row_of(model)) is not None:
            path = reverse(f"admin:{model._meta.app_label}_{_name(model)}_change", args=[row.pk])
            yield _measure(f"{page.heading}, a row", "page", browser, path, repeats)


def _name(model: type[Model]) -> str:
    return str(model._meta.model_name)


def _row_of(model: type[Model]) -> Any:
    """Return a row from the middle of the list, where the list shows one."""
    found: QuerySet[Any] = model._default_manager.all()
    if model is AudioSample:
        found = found.exclude(held_for=[])
    order = keyset.order_of(found)
    size = 5000 if model in (Decision, AuditEvent) else found.count()
    return found.order_by(*order)[size // 2 : size // 2 + 1].first()


def _variants(person: User, page: ReadOnlyAdmin, first: str) -> Iterator[tuple[str, str]]:
    """Yield (what it is, query string) of the pages that a list offers."""
    _, _, query = first.partition("?")
    query = f"?{query}"
    yield "first", query
    request = RequestFactory().get(first)
    request.user = person
    shown = page.get_changelist_instance(request)
    if (deep := _deep_cursor(shown.queryset, first.partition("?")[0])) is not None:
        yield "deep", f"{query}&p={deep}"
    chosen: list[str] = []
    for spec in shown.filter_specs:
        choices: list[dict[str, Any]] = [dict(each) for each in spec.choices(shown) if not each.get("selected")]
        for choice in choices:
            if "query_string" in choice:
                yield f"{spec.title}={choice['display']}", choice["query_string"]
        if choices and "query_string" in choices[-1]:
            chosen.append(choices[-1]["query_string"])
    if any("kept" in choice for spec in shown.filter_specs for choice in spec.choices(shown)):
        yield "a day", f"{query}&since=2026-11-20&until=2026-11-20"
    for one, other in pairwise(chosen):
        yield "two filters", f"{one}&{other.removeprefix('?')}"
    for field in page.search_fields:
        value = _value(_row_of(page.model), field.removesuffix("__exact").removesuffix("__startswith"))
        yield f"search for {field}", f"{query}&q={value}"
    for word in WORDS.get(page.model, [NOBODY]) if page.search_fields else ():
        yield f"search for {word}", f"{query}&q={word}"
    if shown.sortable_by:
        yield "the other direction", f"{query}&o={list(shown.list_display).index(shown.sortable_by[0])}"


def _value(row: Any, lookup: str) -> Any:
    for name in lookup.split("__"):
        row = getattr(row, name)
    return row


def _deep_cursor(queryset: QuerySet[Any], path: str) -> str | None:
    order = keyset.order_of(queryset)
    middle = queryset.count() // 2
    row = queryset.order_by(*order)[middle : middle + 1].first() if middle else None
    return None if row is None else keyset.cursor_at(row, order, path)


def _of_api(role: str, repeats: int) -> Iterator[Measured]:
    name = f"benchmark-{role}-{os.getpid()}"
    _, token = clients.create_client(name=name, role=role, actor=SYSTEM, rate_limits={"reads": READS_A_MINUTE})
    program = Client(SERVER_NAME=HOST, headers={"Authorization": f"Bearer {token}"})
    places = {
        "<customer_id:customer_id>": A_CUSTOMER,
        "<uuid:watchlist_id>": str(_row_of(Watchlist).pk),
        "<str:version>": str(_row_of(ModelVersion).pk),
    }
    for route, view in sorted(lists().items()):
        path = f"/{route}"
        for place, value in places.items():
            path = path.replace(place, value)
        if program.get(path).status_code == 403:  # not for this role
            continue
        for variant, query in _queries(view, path):
            yield _measure(f"GET {route.removeprefix('api/v1')}", variant, program, path + query, repeats)


def _queries(view: type[ListAPIView], path: str) -> Iterator[tuple[str, str]]:
    """Yield (what it is, query string): the first page, one in the middle, and each filter."""
    yield "first", ""
    model = view.serializer_class.Meta.model
    if (rows := getattr(view(), "get_queryset", None)) is None or "{" in path:
        return
    row = _row_of(model)
    if "<" not in path and not getattr(view, "lookup", None):
        with suppress(KeyError, AttributeError):
            if (deep := _deep_cursor(rows(), path)) is not None:
                yield "deep", f"?cursor={deep}"
    filters = getattr(getattr(view, "filterset_class", None), "base_filters", {})
    for name, each in filters.items():
        if "_after" in name or "_before" in name:
            continue
        choices = [value for value, _ in each.extra.get("choices", ())] or [_value(row, each.field_name)]
        for value in [*choices, *([] if "choices" in each.extra else [NOBODY])]:
            if value != "":
                yield f"{name}={value}", f"?{name}={value}"
    if moments := [name for name in filters if "_after" in name or "_before" in name]:
        yield "a day", "?" + "&".join(f"{name}=2026-11-{20 + ('_before' in name)}T00:00:00Z" for name in moments)


def lists() -> dict[str, type[ListAPIView]]:
    """Return the lists of the API, by their route."""

    def walk(patterns: Any, prefix: str = "") -> Iterator[tuple[str, type[ListAPIView]]]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + str(each.pattern))
            elif isinstance(each, URLPattern):
                view = getattr(each.callback, "view_class", type)
                if issubclass(view, ListAPIView):
                    yield prefix + str(each.pattern), view

    return dict(walk(get_resolver().url_patterns))


def _measure(page: str, variant: str, client: Client, path: str, repeats: int) -> Measured:
    rounds = [timed(lambda: client.get(path)) for _ in range(1 + repeats)][1:]
    for each in rounds:
        assert each.result.status_code == 200, (path, each.result.status_code)
    return Measured(page=page, variant=variant, rounds=rounds)
