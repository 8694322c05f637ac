"""Tokens, roles, clients."""

import hashlib
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from tests.support.clients import api_client, error_code
from voiceauth.platform.api.clients import ClientExists, UnknownRole, create_client, revoke_client
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import NotFound

pytestmark = pytest.mark.urls("tests.support.edge")


def test_no_token_is_not_authenticated_and_told_which_scheme(db: None, anonymous: APIClient) -> None:
    response = anonymous.get("/api/v1/notes")
    assert (response.status_code, error_code(response)) == (401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "token",
    ["", "x", "va_teller_short", "va_teller_" + "a" * 43, "va_teller_" + "a" * 43 + "\n", "é" * 10, "a b", "x" * 5000],
)
def test_a_wrong_token_is_invalid(db: None, token: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    response = client.get("/api/v1/notes")
    assert (response.status_code, error_code(response)) == (401, "invalid_token")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_another_scheme_is_not_authenticated(db: None) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Basic dGVsbGVyOng=")
    assert error_code(client.get("/api/v1/notes")) == "not_authenticated"


def test_revoked_expired_and_unknown_tokens_get_the_same_answer(teller: APIClient) -> None:
    expired = api_client("teller", expires_in=timedelta(seconds=-1))
    revoked = api_client("teller")
    revoke_client(name=revoked.api_client.name, actor=SYSTEM)
    answers = [client.get("/api/v1/notes").json()["error"] for client in (expired, revoked)]
    assert answers[0]["code"] == "invalid_token"
    assert answers[0]["message"] == answers[1]["message"]
    assert teller.get("/api/v1/notes").status_code == 200


@pytest.mark.parametrize("role", ["ivr", "reviewer", "admin"])
def test_a_role_that_is_not_named_is_denied_even_an_admin(db: None, role: str) -> None:
    response = api_client(role).get("/api/v1/notes")
    assert (response.status_code, error_code(response)) == (403, "permission_denied")


@pytest.mark.parametrize("role", ApiClient.Role.values)
def test_a_view_that_names_nobody_answers_nobody(db: None, role: str) -> None:
    assert api_client(role).get("/api/v1/closed").status_code == 403


def test_a_dashboard_session_does_not_authenticate_api_calls(db: None, django_user_model: type[User]) -> None:
    user = django_user_model.objects.create_superuser("root", password="correct horse battery")
    client = APIClient()
    client.force_login(user)
    assert client.get("/api/v1/notes").status_code == 401


def test_a_token_has_256_random_bits_and_only_its_hash_is_stored(db: None) -> None:
    client, token = create_client(name="branch", role="teller", actor=SYSTEM)
    assert re.fullmatch(r"va_teller_[A-Za-z0-9_-]{43}", token)
    assert client.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(list(AuditEvent.objects.values()))


def test_creating_and_revoking_are_recorded(db: None) -> None:
    create_client(name="branch", role="teller", actor=SYSTEM)
    revoke_client(name="branch", actor=SYSTEM)
    revoke_client(name="branch", actor=SYSTEM)
    assert list(AuditEvent.objects.values_list("action", flat=True)) == ["client.revoked", "client.created"]


def test_a_name_is_not_given_again_after_a_revocation(db: None) -> None:
    create_client(name="branch", role="teller", actor=SYSTEM)
    revoke_client(name="branch", actor=SYSTEM)
    with pytest.raises(ClientExists):
        create_client(name="branch", role="ivr", actor=SYSTEM)


def test_unknown_roles_and_clients_are_refused(db: None) -> None:
    with pytest.raises(UnknownRole):
        create_client(name="x", role="root", actor=SYSTEM)
    with pytest.raises(NotFound):
        revoke_client(name="x", actor=SYSTEM)


def test_the_commands_create_and_revoke(db: None) -> None:
    out = StringIO()
    options = ("--role", "teller", "--expires-days", "30")
    call_command("create_api_client", "branch", *options, stdout=out, stderr=StringIO())
    token = out.getvalue().strip()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/api/v1/notes").status_code == 200
    ends = ApiClient.objects.get(name="branch").expires_at
    assert ends is not None
    assert timedelta(days=29) < ends - timezone.now() < timedelta(days=31)
    call_command("revoke_api_client", "branch", stdout=StringIO())
    assert client.get("/api/v1/notes").status_code == 401
    with pytest.raises(CommandError, match="Choose another name"):
        call_command("create_api_client", "branch", "--role", "ivr")
    with pytest.raises(CommandError, match="no client"):
        call_command("revoke_api_client", "nobody")
