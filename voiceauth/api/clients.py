"""Services on API clients: who may call us, and with which token."""

import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from voiceauth.audit import Actor
from voiceauth.audit.services import record
from voiceauth.errors import Conflict, DomainError, NotFound

from .authentication import token_hash
from .models import ApiClient


class UnknownRole(DomainError):
    code = "unknown_role"
    message = "A client is a teller, an ivr, a reviewer or an admin."


class ClientExists(Conflict):
    code = "client_exists"
    message = "A client of this name exists already, perhaps revoked. Names are never given twice."


@transaction.atomic
def create_client(*, name: str, role: str, actor: Actor, expires_in: timedelta | None = None) -> tuple[ApiClient, str]:
    """A new client and its token, which is shown this once: only its hash is stored.

    Raises ``UnknownRole`` and ``ClientExists``.
    """
    if role not in ApiClient.Role.values:
        raise UnknownRole()
    token = f"va_{role}_{secrets.token_urlsafe(32)}"
    expires_at = timezone.now() + expires_in if expires_in is not None else None
    try:
        with transaction.atomic():
            client = ApiClient.objects.create(name=name, role=role, token_hash=token_hash(token), expires_at=expires_at)
    except IntegrityError as error:
        raise ClientExists() from error
    record(
        action="client.created",
        actor=actor,
        target=f"client:{client.id}",
        after={"name": name, "role": role, "expires_at": expires_at},
    )
    return client, token


@transaction.atomic
def revoke_client(*, name: str, actor: Actor) -> ApiClient:
    """Refuse the client's token from now on. Revoking twice changes nothing. Raises ``NotFound``."""
    client = ApiClient.objects.select_for_update().filter(name=name).first()
    if client is None:
        raise NotFound(f"There is no client {name!r}.")
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
