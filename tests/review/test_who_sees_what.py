"""No page and no answer shows audio, scores or names to a role that may not see them.

The pages and the calls are found in the URL configuration, so that a new one is included by itself. A route with an
argument that is not known here fails the test: say below which row it is about.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from tests.support.bank import Bank, open_bank
from tests.support.clients import api_client
from tests.support.people import SignIn
from voiceauth.platform.api.roles import roles_with

pytestmark = pytest.mark.django_db

ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
ROW_PAGE = re.compile(r"admin/(\w+)/(\w+)/<")
LEAVES = ("admin/logout/", "admin/sign-in/provider/", "admin/sign-in/provider/answer/")  # they lead away
PUBLIC = ("healthz", "readyz", "api/schema", "api/docs")  # they read no row of a customer
REFUSED = re.compile(r"/(add|delete)/$")  # to everybody, as ``test_roles`` shows
# What is secret, as a page would show it, and the capability that shows it.
SECRETS = {
    "audio": (rb'OggS|<audio|data-source=|src="[^"]*/audio/"', "audio:play"),
    "score": (rb"0\.9137|7\.4129|0\.7231", "decisions:read"),  # of the replayed call
    "evidence": (rb"0\.9437", "cases:read"),
    "name": (b"Mira Sandholm", "customers:read"),
    "customer": (rb"C-101204", "customers:read"),
}


@pytest.fixture
def bank(db: None) -> Bank:
    return open_bank(calls=12)


def routes(patterns: Any = None, before: str = "") -> Iterator[str]:
    """Every route of the service, with its arguments in angle brackets."""
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, route)
        elif (
            isinstance(each, URLPattern)
            and "(?P<" not in route
            and not (route in LEAVES + PUBLIC or REFUSED.search(route))
        ):
            yield route


def path_of(route: str, bank: Bank) -> str:
    """The route of a row of the bank."""
    known = {
        "customer_id": bank.customer.customer_id,
        "sample_id": bank.held.pk,
        "decision_id": bank.call.pk,
        "watchlist_id": bank.watchlist.pk,
        "fraudster_id": bank.fraudster.pk,
        "number": bank.replay.pk,
        "run_id": bank.run.pk,
        "recalibration_id": bank.fitted.pk,
        "batch_id": bank.batch.pk,
        "approval_id": bank.approval.pk,
        "erasure_id": bank.erasure.pk,
        "stream_id": bank.call.pk,
        "version": "2026-11" if "consent-texts" in route else bank.model.pk,
        "name": "roc.png",
        "content_type_id": 1,
    }
    if found := ROW_PAGE.match(route):
        shown = {type(row): row for row in vars(bank).values()}
        model = apps.get_model(f"{found[1]}.{found[2]}")
        known["object_id"] = known["pk"] = known["id"] = (shown.get(model) or model._default_manager.first()).pk
    known.setdefault("object_id", bank.call.pk)
    if "customer/samples" in route or "<path:content_type_id>" in route:
        known["sample_id"] = bank.customer.samples.values_list("pk", flat=True)[0]
    return "/" + ARGUMENT.sub(lambda argument: str(known[argument[1]]), route)


def content_of(response: HttpResponseBase) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]


def seen(client: Client, bank: Bank, *, api: bool) -> dict[str, set[str]]:
    """By secret: the routes that answer ``client`` with it."""
    found: dict[str, set[str]] = {name: set() for name in SECRETS}
    for route in routes():
        if route.startswith("api/v1/") is not api:
            continue
        response = client.get(path_of(route, bank))
        assert response.status_code != 500, route
        content = content_of(response)
        for name, (shape, _) in SECRETS.items():
            if re.search(shape, content):
                found[name].add(route)
    return found


def allowed(role: str) -> set[str]:
    return {name for name, (_, capability) in SECRETS.items() if role in roles_with(capability)}


# An admin may see all that a reviewer may, who shows that the secrets are where they are looked for.
@pytest.mark.parametrize("role", ["teller", "auditor", "reviewer", "nobody", ""])
def test_no_page_shows_a_person_what_their_role_may_not_see(signed_in: SignIn, bank: Bank, role: str) -> None:
    shown = seen(signed_in(role) if role else Client(), bank, api=False)
    may = allowed(role)
    assert {name: found for name, found in shown.items() if found and name not in may} == {}
    assert {name for name in may if not shown[name]} == set()


@pytest.mark.parametrize("role", ["teller", "ivr", "reviewer", ""])
def test_no_call_answers_a_program_with_what_its_role_may_not_see(bank: Bank, role: str) -> None:
    shown = seen(api_client(role) if role else APIClient(), bank, api=True)
    may = allowed(role) - {"audio"}  # a recording is never answered to a GET
    assert {name: found for name, found in shown.items() if found and name not in may} == {}
    assert {name for name in may if not shown[name]} == set()
