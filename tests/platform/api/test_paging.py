"""A list that is read page by page shows each row once, whatever happens to it meanwhile."""

import base64
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.generics import ListAPIView
from rest_framework.test import APIClient

from enrollment.models import Customer
from tests.support.clients import api_client
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.platform.erasure.models import Erasure
from voiceauth.platform.keyset import order_of
from voiceauth.policies.models import PolicyVersion
from voiceauth.screening.models import ReviewCase, Watchlist

CUSTOMERS, CASES, EVENTS = "/api/v1/customers", "/api/v1/cases", "/api/v1/audit-events"


def pages(client: APIClient, path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    answer = client.get(path, query).json()
    yield answer["results"]
    while answer["next"]:
        answer = client.get(answer["next"]).json()
        yield answer["results"]


def customers(*names: str) -> None:
    Customer.objects.bulk_create(Customer(customer_id=name) for name in names)


def test_customers_who_register_meanwhile_move_nobody(teller: APIClient) -> None:
    names = [f"C-{number:02d}" for number in range(9)]
    customers(*names)
    seen = []
    for number, rows in enumerate(pages(teller, CUSTOMERS, page_size=2)):
        seen += [row["customer_id"] for row in rows]
        customers(f"A-{number}", f"C-{2 * number:02d}-a", f"Z-{number}") if number < 3 else None
    assert len(seen) == len(set(seen)) and set(names) <= set(seen) and "Z-0" in seen
    assert seen == sorted(seen)


def test_a_customer_who_is_erased_hides_nobody(teller: APIClient) -> None:
    customers(*(f"C-{number}" for number in range(6)))
    seen = []
    for rows in pages(teller, CUSTOMERS, page_size=2):
        seen += [row["customer_id"] for row in rows]
        Customer.objects.filter(customer_id=rows[-1]["customer_id"]).delete()  # the one that the next page begins after
    assert seen == [f"C-{number}" for number in range(6)]


def test_cases_that_are_closed_meanwhile_hide_no_open_one(reviewer: APIClient) -> None:
    for number in range(7):
        ReviewCase.objects.create(kind=ReviewCase.Kind.REPLAY, customer_id=f"C-{number}", evidence=[])
    seen = []
    for rows in pages(reviewer, CASES, state="OPEN", page_size=2):
        seen += [row["customer_id"] for row in rows]
        ReviewCase.objects.filter(number__in=[row["number"] for row in rows]).update(state=ReviewCase.State.CLOSED)
    assert seen == [f"C-{number}" for number in reversed(range(7))]
    assert not ReviewCase.objects.filter(state=ReviewCase.State.OPEN).exists()


def test_events_that_are_recorded_meanwhile_repeat_none(reviewer: APIClient) -> None:
    for _ in range(7):
        record(action="old", actor=SYSTEM)
    there = [row["sequence"] for row in reviewer.get(EVENTS).json()["results"]]
    seen: list[int] = []
    for rows in pages(reviewer, EVENTS, page_size=3):
        seen += [row["sequence"] for row in rows]
        record(action="new", actor=SYSTEM)
    assert seen == there and len(seen) > 7


def test_rows_of_one_moment_are_shown_once_each(admin: APIClient) -> None:
    Erasure.objects.bulk_create(Erasure(subject=uuid4(), customer_id=f"C-{number}") for number in range(9))
    Erasure.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    seen = [row["customer_id"] for rows in pages(admin, "/api/v1/erasures", page_size=2) for row in rows]
    assert len(seen) == 9 and len(set(seen)) == 9


def test_a_list_that_mixes_directions_keeps_its_order(reviewer: APIClient) -> None:
    Watchlist.objects.bulk_create(Watchlist(name=name) for name in ("c", "a", "b"))
    whole = [row["name"] for row in reviewer.get("/api/v1/watchlists").json()["results"]]
    assert [row["name"] for rows in pages(reviewer, "/api/v1/watchlists", page_size=1) for row in rows] == whole
    assert whole[1:] == ["a", "b", "c"]


def test_a_list_that_ends_with_its_page_has_no_next_one(admin: APIClient) -> None:
    PolicyVersion.objects.bulk_create(PolicyVersion(number=number, content={}) for number in range(4))
    assert [len(rows) for rows in pages(admin, "/api/v1/policies", page_size=2)] == [2, 2]
    assert admin.get("/api/v1/policies", {"page_size": 5}).json()["next"] is None
    assert [len(rows) for rows in pages(admin, CUSTOMERS)] == [0]


def test_the_address_of_a_page_keeps_the_filters_and_names_no_customer(teller: APIClient) -> None:
    customers("C-123456789", "C-200000000", "X")
    answer = teller.get(CUSTOMERS, {"state": "PENDING", "page_size": 1}).json()
    query = parse_qs(urlsplit(answer["next"]).query)
    assert query["state"] == ["PENDING"] and query["page_size"] == ["1"] and answer["count"] == 3
    [cursor] = query["cursor"]
    assert b"123456789" not in base64.urlsafe_b64decode(cursor + "==") and "123456789" not in answer["next"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cursor: "",
        lambda cursor: "2",
        lambda cursor: cursor[:-4],
        lambda cursor: ("B" if cursor[0] == "A" else "A") + cursor[1:],
        lambda cursor: "é" * 20,
        lambda cursor: cursor * 100,
    ],
    ids=["empty", "a number", "cut", "changed", "no letters", "long"],
)
def test_a_cursor_that_is_none_is_refused_by_name(teller: APIClient, spoil: Callable[[str], str]) -> None:
    customers("a", "b")
    [cursor] = parse_qs(urlsplit(teller.get(CUSTOMERS, {"page_size": 1}).json()["next"]).query)["cursor"]
    response = teller.get(CUSTOMERS, {"cursor": spoil(cursor)})
    assert (response.status_code, set(response.json()["error"]["data"]["fields"])) == (400, {"cursor"})


def test_a_cursor_belongs_to_its_list(reviewer: APIClient) -> None:
    customers("a", "b")
    following = reviewer.get(CUSTOMERS, {"page_size": 1}).json()["next"]
    response = reviewer.get(following.replace("/customers", "/decisions"))
    assert response.status_code == 400


@pytest.mark.parametrize("path", [CUSTOMERS, "/api/v1/watchlists", "/api/v1/policies"])
def test_a_page_number_is_refused_so_that_no_client_reads_the_first_page_for_ever(path: str, db: None) -> None:
    response = api_client("auditor").get(path, {"page": 2})
    assert (response.status_code, set(response.json()["error"]["data"]["fields"])) == (400, {"page"})


def lists() -> dict[str, type[ListAPIView]]:
    def walk(patterns: Iterable[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, type[ListAPIView]]]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, prefix + str(each.pattern))
            elif issubclass(view := getattr(each.callback, "view_class", type), ListAPIView):
                yield prefix + str(each.pattern), view

    return dict(walk(get_resolver("voiceauth.urls").url_patterns))


@pytest.mark.parametrize("view", lists().values(), ids=lists().keys())
def test_every_list_has_an_order_in_which_no_two_rows_are_equal(view: type[ListAPIView]) -> None:
    model = view.serializer_class.Meta.model
    last = order_of(model._default_manager.all())[-1].removeprefix("-")
    assert model._meta.get_field(last).unique
