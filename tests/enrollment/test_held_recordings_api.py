"""The list of held recordings across customers, for whoever approves them."""

import pytest

from tests.support.clients import SignedIn, api_client
from tests.support.customers import make_customer, make_sample

pytestmark = pytest.mark.django_db

HELD = "/api/v1/held-recordings"


def test_the_recordings_that_wait_are_listed_across_customers_the_oldest_first(reviewer: SignedIn) -> None:
    ann, bob = make_customer("ann"), make_customer("bob")
    make_sample(ann)
    first = make_sample(bob, 2, held_for=["REVIEW"], origin="branch")
    second = make_sample(ann, 3, held_for=["APPROVAL"])
    found = reviewer.get(HELD).json()["results"]
    assert [(each["customer_id"], each["sample_id"], each["held_for"]) for each in found] == [
        ("bob", str(first.pk), ["REVIEW"]),
        ("ann", str(second.pk), ["APPROVAL"]),
    ]
    assert [each["customer_id"] for each in reviewer.get(HELD, {"origin": "branch"}).json()["results"]] == ["bob"]
    assert [each["customer_id"] for each in reviewer.get(HELD, {"customer_id": "ann"}).json()["results"]] == ["ann"]


def test_the_list_is_read_page_by_page(reviewer: SignedIn) -> None:
    made = [str(make_sample(make_customer(f"c-{n}"), n, held_for=["APPROVAL"]).pk) for n in range(3)]
    page, read = reviewer.get(HELD, {"page_size": 2}).json(), []
    while True:
        read += [each["sample_id"] for each in page["results"]]
        if page["next"] is None:
            break
        page = reviewer.get(page["next"]).json()
    assert (read, page["count"]) == (made, 3)


@pytest.mark.parametrize(("role", "status"), [("teller", 200), ("admin", 200), ("ivr", 403), ("auditor", 403)])
def test_who_approves_may_read_it(role: str, status: int) -> None:
    assert api_client(role).get(HELD).status_code == status
