"""A token's life: it expires, is rotated with an overlap, is revoked, and leaves a trace of its use."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from tests.support.clients import api_client
from tests.support.trail import after
from voiceauth.platform.api.clients import ClientRevoked, create_client, revoke_client, rotate_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent

pytestmark = [pytest.mark.urls("tests.support.edge"), pytest.mark.django_db]


def status(token: str) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client.get("/api/v1/notes").status_code


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_every_token_ends_by_default_after_a_year(settings: Settings) -> None:
    settings.VOICEAUTH_TOKEN_LIFETIME_DAYS = 365
    client, _ = create_client(name="branch", role="teller", actor=SYSTEM)
    assert client.expires_at is not None
    assert timedelta(days=364) < client.expires_at - timezone.now() < timedelta(days=366)


def test_after_a_rotation_both_tokens_are_taken_until_the_overlap_ends() -> None:
    _, old = create_client(name="branch", role="teller", actor=SYSTEM)
    _, new = rotate_client(name="branch", actor=SYSTEM, overlap=timedelta(hours=1))
    assert (status(old), status(new)) == (200, 200)
    ApiClient.objects.update(previous_expires_at=timezone.now())
    assert (status(old), status(new)) == (401, 200)


def test_an_overlap_does_not_outlast_the_old_token_s_own_end() -> None:
    ending, _ = create_client(name="branch", role="teller", actor=SYSTEM, expires_in=timedelta(minutes=5))
    client, _ = rotate_client(name="branch", actor=SYSTEM, overlap=timedelta(hours=1))
    assert client.previous_expires_at == ending.expires_at


def test_revoking_ends_both_tokens_and_a_revoked_client_is_not_rotated() -> None:
    _, old = create_client(name="branch", role="teller", actor=SYSTEM)
    _, new = rotate_client(name="branch", actor=SYSTEM, overlap=timedelta(hours=1))
    revoke_client(name="branch", actor=SYSTEM)
    assert (status(old), status(new)) == (401, 401)
    with pytest.raises(ClientRevoked):
        rotate_client(name="branch", actor=SYSTEM, overlap=timedelta())


def test_a_rotation_is_recorded_without_the_token() -> None:
    create_client(name="branch", role="teller", actor=SYSTEM)
    _, token = rotate_client(name="branch", actor=SYSTEM, overlap=timedelta(hours=1))
    event = AuditEvent.objects.get(action="client.rotated")
    assert set(after(event)) == {"expires_at", "previous_expires_at"}
    assert token not in str(list(AuditEvent.objects.values()))


def test_the_last_use_is_noted_once_a_minute() -> None:
    teller = api_client("teller")
    row = ApiClient.objects.filter(pk=teller.api_client.pk)
    teller.get("/api/v1/notes")
    first = row.get().last_used_at
    assert first is not None
    teller.get("/api/v1/notes")
    assert row.get().last_used_at == first
    row.update(last_used_at=first - timedelta(minutes=2))
    teller.get("/api/v1/notes")
    second = row.get().last_used_at
    assert second is not None and second >= first


def test_a_refused_token_s_use_is_not_noted() -> None:
    expired = api_client("teller", expires_in=timedelta(seconds=-1))
    expired.get("/api/v1/notes")
    assert ApiClient.objects.get().last_used_at is None


def test_the_commands_rotate_limit_and_list() -> None:
    old = run("create_api_client", "branch", "--role=teller", "--scope=customers:read", "--rate=reads=9")
    new = run("rotate_api_client", "branch", "--overlap", "0", "--expires-days", "10")
    assert (status(old), new.startswith("va_teller_")) == (401, True)
    assert ApiClient.objects.get().rate_limits == {"reads": 9}
    listed = run("list_api_clients")
    assert "branch: teller, expires soon" in listed and "limited to customers:read" in listed
    with pytest.raises(SystemExit):
        run("list_api_clients", "--attention")
    run("limit_api_client", "branch")
    assert ApiClient.objects.get().rate_limits == {}
    for wrong in (["--rate=reads=0"], ["--rate=tea=1"], ["--rate=reads"]):
        with pytest.raises(CommandError):
            run("limit_api_client", "branch", *wrong)
    with pytest.raises(CommandError, match="customers:write"):
        run("create_api_client", "other", "--role=teller", "--scope=calls:verify")
