"""API clients and their tokens."""

import re

import pytest

from tests.support.people import SignIn
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


def test_a_new_client_s_token_is_shown_once_and_no_page_shows_its_hash(signed_in: SignIn) -> None:
    client = signed_in("admin")
    response = client.post("/admin/api/apiclient/do/create/", {"name": "IVR Vienna", "role": "ivr", "days": "30"})
    token = re.search(r"va_ivr_[\w-]+", response.content.decode())
    assert token is not None
    assert "no-store" in response["Cache-Control"]
    made = ApiClient.objects.get()
    assert made.expires_at is not None
    for path in ("", f"{made.pk}/change/"):
        page = client.get(f"/admin/api/apiclient/{path}").content.decode()
        assert token.group() not in page
        assert made.token_hash not in page
    assert AuditEvent.objects.get(action="client.created").actor == "user:grace"


def test_a_name_that_is_taken_is_refused(signed_in: SignIn) -> None:
    client, form = signed_in("admin"), {"name": "IVR", "role": "ivr"}
    client.post("/admin/api/apiclient/do/create/", form)
    assert "exists already" in client.post("/admin/api/apiclient/do/create/", form).content.decode()
    assert ApiClient.objects.count() == 1


def test_a_revoked_client_offers_no_second_revocation(signed_in: SignIn) -> None:
    row = ApiClient.objects.create(name="IVR", role="ivr", token_hash="f" * 64)
    client = signed_in("admin")
    client.post(f"/admin/api/apiclient/{row.pk}/do/revoke/")
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert "/do/revoke/" not in client.get(f"/admin/api/apiclient/{row.pk}/change/").content.decode()


def test_rotating_shows_the_new_token_once_and_says_how_long_the_old_one_is_taken(signed_in: SignIn) -> None:
    client = signed_in("admin")
    client.post("/admin/api/apiclient/do/create/", {"name": "IVR", "role": "ivr", "scopes": ["calls:verify"]})
    before = ApiClient.objects.get()
    assert (before.scopes, before.issued_by) == (["calls:verify"], "user:grace")
    page = client.post(f"/admin/api/apiclient/{before.pk}/do/rotate/", {"overlap": "24"}).content.decode()
    assert re.search(r"va_ivr_[\w-]+", page) and "The previous token stays valid until" in page
    after = ApiClient.objects.get()
    assert (after.previous_token_hash, after.token_hash != before.token_hash) == (before.token_hash, True)
    assert AuditEvent.objects.get(action="client.rotated").actor == "user:grace"


def test_a_client_s_rates_are_changed_on_its_page(signed_in: SignIn) -> None:
    row = ApiClient.objects.create(name="IVR", role="ivr", token_hash="f" * 64)
    client = signed_in("admin")
    assert client.post(f"/admin/api/apiclient/{row.pk}/do/limit/", {"calls": "6000"}).status_code == 302
    row.refresh_from_db()
    assert row.rate_limits == {"calls": 6000}
    assert "6000" in client.get(f"/admin/api/apiclient/{row.pk}/change/").content.decode()
