"""Lists of many rows: pages by cursor, filters, searches, and what they ask of the database."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from enrollment.batches.models import BatchResult
from enrollment.models import Customer
from mltraining.models import ModelVersion
from tests.support.clients import api_client
from tests.support.customers import make_customer
from tests.support.people import SignIn
from tests.support.rows import make_decision
from voiceauth.platform import keyset
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.review import summary
from voiceauth.review.admin.base import ReadOnlyAdmin
from voiceauth.review.benchmark import measuring, seeding
from voiceauth.screening.models import Watchlist
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db
DECISIONS, CUSTOMERS, TRAIL = "/admin/verification/decision/", "/admin/enrollment/customer/", "/admin/audit/auditevent/"


def shown(client: Client, path: str, **query: str) -> list[Any]:
    response = client.get(path, query)
    assert response.status_code == 200
    return [row.pk for row in response.context["cl"].result_list]


def queries_of(client: Client, path: str, query: dict[str, Any] | None = None) -> int:
    client.get(path, query)  # what is cached from here on does not count
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path, query).status_code == 200
    return len(captured)


@pytest.fixture
def full_database() -> None:
    seeding.seed(calls=400, customers=60, days=3)


def test_no_list_asks_more_of_the_database_where_it_shows_more_rows(
    signed_in: SignIn, full_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, program = signed_in("superuser"), api_client("admin")
    batch = BatchResult.objects.values_list("batch", flat=True).first()
    pages = [page for page in admin.site._registry.values() if isinstance(page, ReadOnlyAdmin)]
    places = {
        "<customer_id:customer_id>": "C-0000007",
        "<uuid:watchlist_id>": str(Watchlist.objects.values_list("pk", flat=True)[0]),
        "<str:version>": ModelVersion.objects.values_list("pk", flat=True)[0],
    }
    routes = ["/" + route for route in measuring.lists()]
    for place, value in places.items():
        routes = [route.replace(place, value) for route in routes]
    assert len(pages) >= 17 and len(routes) >= 13

    def counted(rows: int) -> dict[str, int]:
        monkeypatch.setattr(ReadOnlyAdmin, "list_per_page", rows)
        paths = [f"/admin/{page.opts.app_label}/{page.opts.model_name}/" for page in pages]
        paths = [f"{path}?batch__id__exact={batch}" if "batchresult" in path else path for path in paths]
        found = {path: queries_of(browser, path) for path in paths}
        for route in routes:
            if program.get(route).status_code != 403:
                found[route] = queries_of(program, route, {"page_size": rows})
        return found

    assert counted(2) == counted(50)


def test_each_value_of_a_list_names_its_column_for_narrow_screens(signed_in: SignIn) -> None:
    make_customer("C-1")
    shown = signed_in("admin").get(CUSTOMERS).content.decode()
    assert '<th data-label="Customer id" class="field-customer_id' in shown
    assert '<td data-label="State" class="field-' in shown


def test_pages_lead_to_each_other_in_both_directions(signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadOnlyAdmin, "list_per_page", 3)
    Customer.objects.bulk_create(Customer(customer_id=f"C-{number}", state="LOCKED") for number in range(8))
    Customer.objects.create(customer_id="C-5-pending")
    client = signed_in("superuser")

    def names(address: str) -> tuple[list[str], Any]:
        page = client.get(f"{CUSTOMERS}{address}").context["cl"]
        return [row.customer_id for row in page.result_list], page

    first, page = names("?state__exact=LOCKED")
    assert (first, page.is_first_page, page.result_count) == (["C-0", "C-1", "C-2"], True, 8)
    assert "C-2" not in page.next_page  # the address of a page names nobody
    second, page = names(page.next_page)
    last, page = names(page.next_page)
    assert (second, last, page.next_page) == (["C-3", "C-4", "C-5"], ["C-6", "C-7"], None)
    back, page = names(page.previous_page)
    assert back == second
    back, page = names(page.previous_page)
    assert (back, page.is_first_page) == (first, True)


def test_an_address_of_a_page_that_is_none_leads_to_the_first(signed_in: SignIn) -> None:
    response = signed_in("superuser").get(CUSTOMERS, {"p": "2"})
    assert (response.status_code, response["Location"]) == (302, f"{CUSTOMERS}?e=1")


def test_a_list_is_sorted_only_by_columns_that_have_an_index(signed_in: SignIn) -> None:
    client = signed_in("reviewer")
    first, last = make_decision(probability=None), make_decision("C-2", decision="REJECT")
    assert shown(client, DECISIONS, o="0") == [first.pk, last.pk]
    for column in ("-0", "1", "-4", "6", "99", "x"):
        assert shown(client, DECISIONS, o=column) == [last.pk, first.pk]


def test_rows_are_counted_up_to_a_limit(signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyset, "MOST_COUNTED", 3)
    client, teller = signed_in("superuser"), api_client("teller")
    for number, (said, count) in enumerate([("1 customer", 1), ("2 customers", 2), ("3 customers", 3)]):
        make_customer(f"C-{number}")
        assert f"<span>{said}</span>" in client.get(CUSTOMERS).content.decode()
        assert teller.get("/api/v1/customers").json()["count"] == count
    make_customer("C-4")
    assert "<span>more than 3 customers</span>" in client.get(CUSTOMERS).content.decode()
    assert teller.get("/api/v1/customers").json()["count"] is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C-1", ["C-1", "C-12"]),
        ("muster", ["C-1"]),
        ("MUSTER an", ["C-1"]),
        ("usterfrau", []),
        ("o'br", ["C-2"]),
        ("'); --", []),
        ("\\' : & !", []),
        ("x" * 5000, []),
    ],
)
def test_customers_are_found_by_identifier_and_by_words_of_their_name(
    signed_in: SignIn, text: str, found: list[str]
) -> None:
    names = {"C-1": "Anna Musterfrau", "C-12": "", "C-2": "Seán O'Brien"}
    Customer.objects.bulk_create(Customer(customer_id=name, display_name=words) for name, words in names.items())
    page = signed_in("teller").get(CUSTOMERS, {"q": text}).context["cl"]
    assert [row.customer_id for row in page.result_list] == found


def test_a_list_is_narrowed_to_days(signed_in: SignIn) -> None:
    made = [make_decision(f"C-{number}") for number in range(3)]
    for number, decision in enumerate(made):
        moment = datetime(2026, 11, 20 + number, 23, 59, tzinfo=timezone.get_current_timezone())
        Decision.objects.filter(pk=decision.pk).update(created_at=moment)
    client = signed_in("reviewer")
    both = shown(client, DECISIONS, since="2026-11-21", until="2026-11-22")
    assert both == [made[2].pk, made[1].pk]
    assert shown(client, DECISIONS, until="2026-11-20") == [made[0].pk]
    assert shown(client, DECISIONS, since="2026-11-22", decision__exact="REJECT") == []
    page = client.get(DECISIONS, {"since": "2026-11-22", "decision__exact": "ACCEPT"}).content.decode()
    assert re.search(r'type="hidden" name="decision__exact" value="ACCEPT"', page)
    assert client.get(DECISIONS, {"since": "yesterday"}).status_code == 302


def test_the_trail_is_narrowed_to_days(signed_in: SignIn) -> None:
    events = [record(action=f"test.{number}", actor=SYSTEM) for number in range(3)]
    client, today = signed_in("auditor"), timezone.now().date()
    listed = shown(client, TRAIL, since=str(today), until=str(today))
    assert {event.pk for event in events} <= set(listed)
    assert shown(client, TRAIL, since=str(today + timedelta(days=1))) == []
    assert shown(client, TRAIL, until=str(today - timedelta(days=1))) == []


def test_a_filter_offers_the_values_that_occur(signed_in: SignIn) -> None:
    for version in ("model-b", "model-a", "model-b", ""):
        make_decision(model_version=version)
    specs = signed_in("reviewer").get(DECISIONS).context["cl"].filter_specs
    page = signed_in("reviewer").get(DECISIONS).context["cl"]
    [offered] = [spec for spec in specs if spec.title == "model version"]
    assert [choice["display"] for choice in offered.choices(page)] == ["All", "none", "model-a", "model-b"]


def test_an_hour_that_has_ended_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setattr(summary, "SETTLED_AFTER", timedelta(0))
    ago = timezone.now() - timedelta(hours=2)
    Decision.objects.filter(pk=make_decision().pk).update(created_at=ago)
    Decision.objects.filter(pk=make_decision(fraud_risk={"level": "HIGH_RISK"}).pk).update(created_at=ago)
    make_decision(decision="REJECT")
    first = summary._decisions()
    assert (first["total"], first["flagged"], dict(first["results"])) == (3, 1, {"ACCEPT": 2, "REJECT": 1})
    make_decision(decision="REJECT")
    with CaptureQueriesContext(connection) as captured:
        again = summary._decisions()
    assert (again["total"], len(captured)) == (4, 1)
    assert f"{timezone.now():%Y-%m-%d %H}:00:00" in captured.captured_queries[0]["sql"]
    cache.clear()
