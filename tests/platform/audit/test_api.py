"""``GET /audit-events``: the reviewer reads the trail, and nobody else."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from tests.support.clients import api_client
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record

PATH = "/api/v1/audit-events"


@pytest.fixture
def events(reviewer: APIClient) -> None:
    record(action="customer.created", actor=Actor(name="branch-7", role="teller"), customer_id="c1", after={"a": 1})
    record(action="decision.made", actor=SYSTEM, customer_id="c2", threshold=0.5, outcome="failed")


@pytest.mark.parametrize("role", ["teller", "ivr"])
def test_other_roles_may_not_read_the_trail(db: None, role: str) -> None:
    assert api_client(role).get(PATH).status_code == 403


def test_the_latest_event_comes_first_with_all_that_was_recorded(reviewer: APIClient, events: None) -> None:
    latest, before, *_ = reviewer.get(PATH).json()["results"]
    assert (latest["action"], latest["threshold"], latest["outcome"]) == ("decision.made", 0.5, "failed")
    assert (before["actor"], before["role"], before["after"]) == ("branch-7", "teller", {"a": 1})
    assert latest["sequence"] == before["sequence"] + 1


@pytest.mark.parametrize(
    "query",
    [
        {"customer_id": "c1"},
        {"action": "customer.created"},
        {"actor": "branch-7"},
        {"customer_id": "c1", "outcome": "success"},
    ],
    ids=str,
)
def test_filters_pick_events(reviewer: APIClient, events: None, query: dict[str, str]) -> None:
    assert [event["customer_id"] for event in reviewer.get(PATH, query).json()["results"]] == ["c1"]


def test_a_span_of_time_picks_events(reviewer: APIClient, events: None) -> None:
    now = timezone.now()
    hour = timedelta(hours=1)
    assert reviewer.get(PATH, {"occurred_after": (now + hour).isoformat()}).json()["count"] == 0
    assert reviewer.get(PATH, {"occurred_before": (now - hour).isoformat()}).json()["count"] == 0
    span = {"occurred_after": (now - hour).isoformat(), "occurred_before": (now + hour).isoformat()}
    assert reviewer.get(PATH, span).json()["count"] == 3


def test_a_moment_may_carry_an_offset_that_postgresql_does_not_read(reviewer: APIClient, events: None) -> None:
    assert reviewer.get(PATH, {"occurred_after": "2000-01-02T12:23:30-18:55"}).json()["count"] == 3
    assert reviewer.get(PATH, {"occurred_after": "0001-01-01T00:00:00+18:55"}).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"customer": "c1"},
        {"occurred_after": "yesterday"},
        {"outcome": "perhaps"},
        {"occurred_before": ""},
        {"actor": ""},
    ],
    ids=str,
)
def test_unknown_filters_and_values_are_refused_by_name(reviewer: APIClient, query: dict[str, str]) -> None:
    response = reviewer.get(PATH, query)
    assert response.status_code == 400
    assert set(response.json()["error"]["data"]["fields"]) == set(query)


def test_pages_are_limited(reviewer: APIClient, events: None) -> None:
    first = reviewer.get(PATH, {"page_size": 2}).json()
    assert (first["count"], len(first["results"])) == (3, 2)
    assert len(reviewer.get(first["next"]).json()["results"]) == 1


@pytest.mark.parametrize("size", ["0", "-1", "201", "00501", "null", "", "1.5", "٣"])
def test_an_invalid_page_size_is_refused_by_name(reviewer: APIClient, size: Any) -> None:
    response = reviewer.get(PATH, {"page_size": size})
    assert response.status_code == 400
    assert set(response.json()["error"]["data"]["fields"]) == {"page_size"}


def test_a_page_costs_a_fixed_number_of_queries(
    reviewer: APIClient, events: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    reviewer.get(PATH)  # notes that the token is in use, for a minute
    with django_assert_num_queries(3):  # the token, the count, the page
        reviewer.get(PATH)
