"""Sign-in by the bank's OpenID Connect provider: authorization code flow with PKCE, state and nonce.

Authlib does the protocol. mozilla-django-oidc (5.0.2) checks neither who issued an ID token nor for whom.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from joserfc.errors import JoseError

from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.review.sign_in.errors import SignInRefused
from voiceauth.review.sign_in.models import ProviderAccount

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]  # public keys
LEEWAY_SECONDS = 60  # that the clocks of provider and service may differ
TIMEOUT_SECONDS = 5  # of each request to the provider; a hanging one would hold a thread


@dataclass(frozen=True, kw_only=True)
class Person:
    """Whom the provider vouches for."""

    issuer: str
    subject: str
    name: str
    roles: list[str]


class _App(DjangoOAuth2App):
    """Takes only algorithms with public keys, whatever the provider's document names."""

    def load_server_metadata(self) -> Any:
        metadata = super().load_server_metadata()
        metadata["id_token_signing_alg_values_supported"] = ALGORITHMS
        return metadata


def is_configured() -> bool:
    """Return whether the settings name a provider."""
    return bool(settings.VOICEAUTH_OIDC_ISSUER)


def redirect(request: HttpRequest, callback: str) -> HttpResponse:
    """Send the browser to the provider, which sends it back to ``callback``. Raises ``SignInRefused``."""
    try:
        return cast(HttpResponse, _app().authorize_redirect(request, callback))
    except (requests.RequestException, ValueError, RuntimeError) as error:
        raise SignInRefused("The identity provider does not answer. Try again later.") from error


def answer(request: HttpRequest) -> Person:
    """Return whom the provider's answer vouches for. Raises ``SignInRefused``."""
    issuer = settings.VOICEAUTH_OIDC_ISSUER
    claims_options = {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": settings.VOICEAUTH_OIDC_CLIENT_ID},
    }
    try:
        token = _app().authorize_access_token(request, claims_options=claims_options, leeway=LEEWAY_SECONDS)
        claims = token["userinfo"]
    except requests.RequestException as error:
        raise SignInRefused("The identity provider does not answer. Try again later.") from error
    except (AuthlibBaseError, JoseError, KeyError, TypeError, ValueError) as error:
        raise SignInRefused("The identity provider did not confirm who you are. Start again.") from error
    name = str(claims.get(settings.VOICEAUTH_OIDC_NAME_CLAIM) or "")
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError as error:
        raise SignInRefused("The identity provider gave no name that can be used here.") from error
    roles = _roles_of(claims.get(settings.VOICEAUTH_OIDC_ROLES_CLAIM))
    return Person(issuer=issuer, subject=str(claims["sub"]), name=name, roles=roles)


def account_of(person: Person, actor: Actor) -> User:
    """Return the person's account with the roles that the provider gives them. It is made at the first sign-in.

    Accounts are told apart by the provider's subject, never by a name, which may be given to somebody else.
    Raises ``SignInRefused`` without a mapped role, for an account that is not active, and where the name is taken.
    """
    try:
        return _account_of(person, actor)
    except IntegrityError as error:  # the same person, or somebody of the same name, came at the same moment
        raise SignInRefused from error


def _account_of(person: Person, actor: Actor) -> User:
    with transaction.atomic():
        known = ProviderAccount.objects.select_related("user").filter(issuer=person.issuer, subject=person.subject)
        link = known.select_for_update().first()
        if link is not None and not link.user.is_active:
            raise SignInRefused("This account is not active. Ask an administrator.")
        if not person.roles:
            if link is not None:
                _give_roles(link.user, [], actor)
        elif link is not None:
            _give_roles(link.user, person.roles, actor)
        else:
            link = _new_account(person, actor)
    if link is None or not person.roles:
        raise SignInRefused("The identity provider gives you no role here. Ask whoever manages your groups there.")
    return link.user


def _new_account(person: Person, actor: Actor) -> ProviderAccount:
    if User.objects.filter(username__iexact=person.name).exists():
        raise SignInRefused("An account of your name exists already that is not the provider's. Ask an administrator.")
    user = User(username=person.name)
    user.set_unusable_password()
    user.save()
    link = ProviderAccount.objects.create(user=user, issuer=person.issuer, subject=person.subject)
    _give_roles(user, person.roles, actor, action="user.added")
    return link


def _give_roles(user: User, roles: list[str], actor: Actor, action: str = "user.changed") -> None:
    before = sorted(user.groups.values_list("name", flat=True))
    if before != roles:
        user.groups.set(Group.objects.filter(name__in=roles))
        after = {"username": user.get_username(), "roles": roles}
        record(action=action, actor=actor, target=f"user:{user.pk}", before={"roles": before}, after=after)


def _roles_of(claimed: Any) -> list[str]:
    """Return the roles that the values of the claim are mapped to."""
    values: Iterable[Any] = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
    mapped = settings.VOICEAUTH_OIDC_ROLES
    return sorted({mapped[value] for value in values if isinstance(value, str) and value in mapped})


def _app() -> _App:
    return _made(
        settings.VOICEAUTH_OIDC_ISSUER, settings.VOICEAUTH_OIDC_CLIENT_ID, settings.VOICEAUTH_OIDC_CLIENT_SECRET
    )


@lru_cache(maxsize=4)
def _made(issuer: str, client_id: str, client_secret: str) -> _App:
    return _App(
        DjangoIntegration("provider"),
        "provider",
        client_id=client_id,
        client_secret=client_secret,
        server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": settings.VOICEAUTH_OIDC_SCOPE,
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_SECONDS,
        },
    )
