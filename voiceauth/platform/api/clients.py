"""Services on API clients: who may call us, with which token, for what, and how often."""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from voiceauth.platform.api import roles
from voiceauth.platform.api.authentication import token_hash
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import Conflict, DomainError, NotFound

CLIENT_CLASSES = ("calls", "writes", "reads", "training")  # each has a rate
MOST_CALLS = 1_000_000  # a minute
MOST_LETTERS = 64  # of a client's name
RESERVED_NAMES = {"system", "anonymous"}  # other actors in the audit trail


class UnknownRole(DomainError):
    """The role is not in the table of roles."""

    code = "unknown_role"
    message = "There is no such role. A client is a teller, an ivr, a reviewer, an admin or an auditor."


class InvalidClientName(DomainError):
    """Reserved names belong to others in the audit trail."""

    code = "invalid_client_name"
    message = (
        f"A client's name has 1 to {MOST_LETTERS} printable characters and no spaces around it. The names system, "
        "anonymous and user:… are reserved."
    )


class UnknownScope(DomainError):
    """Carries ``scopes``: those that the role has."""

    code = "unknown_scope"
    message = "The role does not have this scope. `scopes` lists those that it has."


class UnknownRate(DomainError):
    """The class of calls is unknown, or the rate is out of range."""

    code = "unknown_rate"
    message = f"A rate is a number of calls a minute, from 1 to {MOST_CALLS}, for one of {', '.join(CLIENT_CLASSES)}."


class ClientExists(Conflict):
    """A name in the audit trail must always mean the same client."""

    code = "client_exists"
    message = "A client of this name exists already, or existed and was revoked. Choose another name."


class ClientRevoked(Conflict):
    """A revocation is final."""

    code = "client_revoked"
    message = "The client is revoked. Create another one."


@transaction.atomic
def create_client(
    *,
    name: str,
    role: str,
    actor: Actor,
    expires_in: timedelta | None = None,
    scopes: Collection[str] = (),
    rate_limits: Mapping[str, int] | None = None,
) -> tuple[ApiClient, str]:
    """Create a client. Return it and its token, which cannot be read again: only its hash is stored.

    Without ``expires_in`` the token expires after ``VOICEAUTH_TOKEN_LIFETIME_DAYS``. ``scopes`` limit it to some of
    the role's. Raises ``InvalidClientName``, ``UnknownRole``, ``UnknownScope``, ``UnknownRate`` and
    ``ClientExists``.
    """
    if role not in ApiClient.Role.values:
        raise UnknownRole()
    if set(scopes) - roles.scopes_of(role):
        raise UnknownScope(scopes=sorted(roles.scopes_of(role)))
    if not _is_name(name):
        raise InvalidClientName()
    token = _new_token(role)
    content = {
        "name": name,
        "role": role,
        "scopes": sorted(set(scopes)),
        "rate_limits": _valid_rates(rate_limits or {}),
        "expires_at": _end(expires_in),
    }
    try:
        with transaction.atomic():
            client = ApiClient.objects.create(**content, token_hash=token_hash(token), issued_by=actor.name)
    except IntegrityError as error:
        raise ClientExists() from error
    record(action="client.created", actor=actor, target=f"client:{client.id}", after=content)
    return client, token


@transaction.atomic
def rotate_client(
    *, name: str, actor: Actor, overlap: timedelta, expires_in: timedelta | None = None
) -> tuple[ApiClient, str]:
    """Give a client a new token. Return the client and the token, which cannot be read again.

    The previous token stays valid for ``overlap``, but not beyond its own expiry. Of two rotations within one
    overlap only the last two tokens are valid. Raises ``NotFound`` and ``ClientRevoked``.
    """
    client = _locked(name)
    if client.revoked_at is not None:
        raise ClientRevoked()
    token = _new_token(client.role)
    before = {"expires_at": client.expires_at}
    ends = timezone.now() + overlap
    client.previous_token_hash = client.token_hash
    client.previous_expires_at = ends if client.expires_at is None else min(ends, client.expires_at)
    client.token_hash, client.expires_at, client.issued_by = token_hash(token), _end(expires_in), actor.name
    client.save()
    after = {"expires_at": client.expires_at, "previous_expires_at": client.previous_expires_at}
    record(action="client.rotated", actor=actor, target=f"client:{client.id}", before=before, after=after)
    return client, token


@transaction.atomic
def revoke_client(*, name: str, actor: Actor) -> ApiClient:
    """Refuse the client's tokens from now on. Revoking twice changes nothing. Raises ``NotFound``."""
    client = _locked(name)
    if client.revoked_at is None:
        client.revoked_at = timezone.now()
        client.save(update_fields=["revoked_at"])
        record(
            action="client.revoked",
            actor=actor,
            target=f"client:{client.id}",
            before={"revoked_at": None},
            after={"revoked_at": client.revoked_at},
        )
    return client


@transaction.atomic
def set_rate_limits(*, name: str, rate_limits: Mapping[str, int], actor: Actor) -> ApiClient:
    """Set the client's own rates, in calls a minute by class. An empty mapping restores those of the settings.

    Raises ``NotFound`` and ``UnknownRate``.
    """
    client = _locked(name)
    before = {"rate_limits": client.rate_limits}
    client.rate_limits = _valid_rates(rate_limits)
    client.save(update_fields=["rate_limits"])
    after = {"rate_limits": client.rate_limits}
    record(action="client.rates_changed", actor=actor, target=f"client:{client.id}", before=before, after=after)
    return client


def _is_name(name: str) -> bool:
    shown = name.isprintable() and name == name.strip() and 1 <= len(name) <= MOST_LETTERS
    return shown and not name.startswith("user:") and name not in RESERVED_NAMES


def _locked(name: str) -> ApiClient:
    client = ApiClient.objects.select_for_update().filter(name=name).first()
    if client is None:
        raise NotFound(f"There is no client {name!r}.")
    return client


def _new_token(role: str) -> str:
    return f"va_{role}_{secrets.token_urlsafe(32)}"


def _end(expires_in: timedelta | None) -> datetime:
    lifetime = timedelta(days=settings.VOICEAUTH_TOKEN_LIFETIME_DAYS) if expires_in is None else expires_in
    return timezone.now() + lifetime


def _valid_rates(rate_limits: Mapping[str, int]) -> dict[str, int]:
    if any(kind not in CLIENT_CLASSES or not 0 < rate <= MOST_CALLS for kind, rate in rate_limits.items()):
        raise UnknownRate()
    return dict(rate_limits)
