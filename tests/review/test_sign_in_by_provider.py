"""Sign-in by an OpenID Connect provider, against one that is a real HTTP server with signed tokens."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from joserfc.jwk import RSAKey
from pytest_django import Settings

from tests.support.people import PASSWORD
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, Provider, shared_key
from voiceauth.platform import checks
from voiceauth.platform.api import throttling
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies.services import change
from voiceauth.review.sign_in.models import ProviderAccount

pytestmark = pytest.mark.django_db
LOGIN, BEGIN, ANSWER = "/admin/login/", "/admin/sign-in/provider/", "/admin/sign-in/provider/answer/"
RITA = {"sub": "7f3a", "preferred_username": "rita.reviewer", "groups": ["staff", "voice-reviewers"]}


@pytest.fixture
def provider(settings: Settings, people: dict[str, User]) -> Iterator[Provider]:
    throttling.connection().delete("rate:anonymous:127.0.0.1", "rate-refused:anonymous:127.0.0.1")
    with Provider(person=dict(RITA)).running() as running:
        settings.VOICEAUTH_OIDC_ISSUER = running.issuer
        settings.VOICEAUTH_OIDC_CLIENT_ID, settings.VOICEAUTH_OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        settings.VOICEAUTH_OIDC_ROLES = {"voice-reviewers": "reviewer", "voice-tellers": "teller"}
        yield running


def walk(client: Client, following: str = "/admin/audit/auditevent/") -> Any:
    """What the service answers once the browser comes back from the provider."""
    begun = client.get(BEGIN, {"next": following})
    assert begun.status_code == 302, begun.content
    back = httpx.get(begun["Location"]).headers["location"]
    return client.get(back.removeprefix("http://testserver"))


def enters(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def refused(client: Client, said: str) -> None:
    answer = walk(client)
    assert answer.status_code == 403 and said in answer.content.decode(), answer.content
    assert not enters(client)


def test_a_person_with_a_mapped_group_signs_in_and_gets_its_role(provider: Provider) -> None:
    client = Client()
    assert "Sign in with your organisation" in client.get(LOGIN).content.decode()
    assert walk(client)["Location"] == "/admin/audit/auditevent/"
    assert client.get("/admin/audit/auditevent/").status_code == 200
    user = User.objects.get(username="rita.reviewer")
    assert [group.name for group in user.groups.all()] == ["reviewer"]
    assert not (user.is_superuser or user.is_staff or user.has_usable_password())
    signed_in = AuditEvent.objects.get(action="session.signed_in")
    assert (signed_in.actor, signed_in.data) == ("user:rita.reviewer", {"with": "identity provider"})
    assert AuditEvent.objects.get(action="user.added").after == {"username": "rita.reviewer", "roles": ["reviewer"]}


def test_the_account_follows_the_provider_and_is_told_by_its_subject(provider: Provider) -> None:
    walk(Client())
    provider.person |= {"preferred_username": "rita.married", "groups": "voice-tellers"}
    client = Client()
    assert walk(client).status_code == 302
    user = ProviderAccount.objects.get().user
    assert (user.username, [group.name for group in user.groups.all()]) == ("rita.reviewer", ["teller"])
    assert AuditEvent.objects.get(action="user.changed").before == {"roles": ["reviewer"]}
    provider.person |= {"sub": "another", "preferred_username": "rita.reviewer"}
    refused(Client(), "An account of your name exists already")


def test_nobody_enters_without_a_mapped_role_and_a_lost_one_is_taken_away(provider: Provider) -> None:
    walk(Client())
    for groups in (["staff"], [], None, {"voice-reviewers": True}, [["voice-reviewers"]], "reviewer"):
        provider.person["groups"] = groups
        refused(Client(), "gives you no role here")
    assert not ProviderAccount.objects.get().user.groups.exists()
    assert User.objects.filter(username="rita.reviewer").count() == 1
    events = AuditEvent.objects.filter(action="request.refused", data__code="sign_in_refused")
    assert events.count() == 6


def test_a_local_account_of_the_same_name_is_never_taken_over(provider: Provider) -> None:
    provider.person["preferred_username"] = "Rita"
    refused(Client(), "An account of your name exists already")
    assert not ProviderAccount.objects.exists()


@pytest.mark.parametrize("name", [None, "", "x" * 151, "rita <script>", ["rita"]], ids=repr)
def test_a_name_that_is_none_makes_no_account(provider: Provider, name: Any) -> None:
    provider.person["preferred_username"] = name
    refused(Client(), "gave no name that can be used here")
    assert not ProviderAccount.objects.exists()


def test_a_deactivated_account_stays_out(provider: Provider) -> None:
    walk(Client())
    User.objects.filter(username="rita.reviewer").update(is_active=False)
    refused(Client(), "This account is not active")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.attacker.example"},
        {"aud": "another service"},
        {"exp": 1_700_000_000},  # in 2023
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"aud": None},
        {"exp": None},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_sign_in_lets_nobody_in(provider: Provider, changes: dict[str, Any]) -> None:
    provider.changes = changes
    refused(Client(), "did not confirm who you are")
    assert not ProviderAccount.objects.exists()


def test_a_token_that_another_key_signed_lets_nobody_in(provider: Provider) -> None:
    provider.signing_key = RSAKey.generate_key(2048, parameters={"kid": "one"})
    refused(Client(), "did not confirm who you are")
    provider.signing_key, provider.algorithm = shared_key(), "HS256"
    refused(Client(), "did not confirm who you are")


def test_the_provider_s_new_key_is_fetched(provider: Provider) -> None:
    assert walk(Client()).status_code == 302
    provider.key = RSAKey.generate_key(2048, parameters={"kid": "two"})
    assert walk(Client()).status_code == 302


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(provider: Provider) -> None:
    begun = Client().get(BEGIN)
    back = httpx.get(begun["Location"]).headers["location"].removeprefix("http://testserver")
    other = Client()
    assert other.get(back).status_code == 403 and not enters(other)
    assert other.get(ANSWER).status_code == 403
    assert other.get(ANSWER, {"error": "access_denied", "error_description": "<script>"}).status_code == 403
    client = Client()
    begun = client.get(BEGIN)
    back = httpx.get(begun["Location"]).headers["location"].removeprefix("http://testserver")
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 403  # an answer counts once


def test_the_way_back_leads_to_this_service_alone(provider: Provider) -> None:
    assert walk(Client(), "https://attacker.example/")["Location"] == "/admin/"


def test_a_provider_that_is_away_says_so(provider: Provider) -> None:
    provider.is_away = True
    answer = Client().get(BEGIN)
    assert answer.status_code == 403 and "does not answer" in answer.content.decode()


def test_the_policy_asks_only_passwords_for_a_second_factor(provider: Provider) -> None:
    content = {"sign_in": {"second_factor_for": ["reviewer"]}}
    change(content=content, reason="x", based_on=0, actor=SYSTEM)
    client = Client()
    walk(client)
    assert enters(client)
    assert "which asks for your second factor" in client.get("/admin/second-factor/").content.decode()
    assert client.get("/admin/second-factor/set-up/")["Location"] == "/admin/second-factor/"


def test_without_local_passwords_the_provider_is_the_only_way_in(provider: Provider, settings: Settings) -> None:
    before = Client()
    before.post(LOGIN, {"username": "rita", "password": PASSWORD})
    assert enters(before)
    settings.VOICEAUTH_LOCAL_PASSWORDS = False
    assert not enters(before)
    client = Client()
    assert client.post(LOGIN, {"username": "rita", "password": PASSWORD}).status_code == 403
    assert "id_password" not in client.get(LOGIN).content.decode()
    assert walk(client).status_code == 302 and enters(client)


def test_without_configuration_there_is_no_provider(people: dict[str, User]) -> None:
    client = Client()
    assert "organisation" not in client.get(LOGIN).content.decode()
    assert [client.get(path).status_code for path in (BEGIN, ANSWER)] == [404, 404]


def test_what_is_configured_by_half_stops_the_start(settings: Settings) -> None:
    def ids() -> list[str]:
        return [str(message.id) for message in checks.identity_provider(None)]

    assert ids() == []
    settings.VOICEAUTH_LOCAL_PASSWORDS = False
    assert ids() == ["voiceauth.E011"]
    settings.VOICEAUTH_OIDC_ISSUER = "http://login.bank.example"
    assert ids() == ["voiceauth.E009", "voiceauth.E010"]
