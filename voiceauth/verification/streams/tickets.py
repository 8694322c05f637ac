"""Tickets: what lets a telephone platform in that cannot send a bearer token.

The IVR says who the caller claims to be, gets a ticket, and hands it to the platform as a custom parameter. A ticket is
256 random bits, works once and for a minute. Redis holds the claim under its hash, sealed, so neither the platform nor
Redis learns who calls. What became of the stream is kept for an hour, for ``GET /streams/ID``.
"""

import secrets
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import redis
from django.utils import timezone

from voiceauth.platform import vault
from voiceauth.platform.api.authentication import token_hash
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.errors import ScoringUnavailable
from voiceauth.platform.redis import connection as shared_connection
from voiceauth.verification.streams.errors import InvalidTicket, StreamNotFound

LIFE = timedelta(seconds=60)
FATE_LIFE = timedelta(hours=1)
SOCKET_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who the caller claims to be, and how the call is judged; as the fields of POST /verify."""

    customer_id: str
    tier: str = ""
    caller: str = ""
    follow_seconds: float = 0.0  # of speech between two updates after the answer; 0: the answer ends the stream


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    stream_id: uuid.UUID
    client: uuid.UUID
    claim: Claim


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of a stream that a ticket was made for."""

    client: uuid.UUID
    state: str  # WAITING, LISTENING, FAILED; a decision stands in the database
    error: dict[str, Any] | None = None


def issue(client: ApiClient, claim: Claim) -> tuple[uuid.UUID, str, datetime]:
    """Make a ticket. Return the stream's id, the ticket and until when it may be used.

    Raises ``ScoringUnavailable`` where Redis does not answer.
    """
    stream_id, ticket = uuid.uuid4(), secrets.token_urlsafe(32)
    content = msgspec.json.encode(asdict(_Ticket(stream_id=stream_id, client=client.pk, claim=claim)))
    try:
        _redis().set(_key(ticket), vault.seal(vault.derived_key("tickets"), content, "ticket"), ex=LIFE)
    except redis.RedisError as error:
        raise ScoringUnavailable(retry_after_seconds=2) from error
    note(stream_id, Fate(client=client.pk, state="WAITING"))
    return stream_id, ticket, timezone.now() + LIFE


def redeem(ticket: str) -> tuple[uuid.UUID, ApiClient, Claim]:
    """Take a ticket. Return the stream's id, whose ticket it is and the claim.

    Raises ``InvalidTicket``, also where the client was revoked meanwhile, and ``ScoringUnavailable``.
    """
    try:
        sealed: Any = _redis().getdel(_key(ticket))
    except redis.RedisError as error:
        raise ScoringUnavailable(retry_after_seconds=2) from error
    if sealed is None:
        raise InvalidTicket
    found = msgspec.json.decode(vault.unseal(vault.derived_key("tickets"), sealed, "ticket"), type=_Ticket)
    client = ApiClient.objects.filter(pk=found.client, revoked_at=None).first()
    if client is None or client.has_expired:
        raise InvalidTicket
    return found.stream_id, client, found.claim


def note(stream_id: uuid.UUID, fate: Fate) -> None:
    """Remember what became of a stream. Without Redis it is forgotten."""
    try:
        _redis().set(f"stream:{stream_id}", msgspec.json.encode(asdict(fate)), ex=FATE_LIFE)
    except redis.RedisError:
        return


def fate(stream_id: uuid.UUID, client: ApiClient) -> Fate:
    """Return what became of the client's stream. Raises ``StreamNotFound`` and ``ScoringUnavailable``."""
    try:
        content: Any = _redis().get(f"stream:{stream_id}")
    except redis.RedisError as error:
        raise ScoringUnavailable(retry_after_seconds=2) from error
    found = msgspec.json.decode(content, type=Fate) if content else None
    if found is None or found.client != client.pk:
        raise StreamNotFound
    return found


def _key(ticket: str) -> str:
    return f"ticket:{token_hash(ticket)}"


def _redis() -> redis.Redis:
    return shared_connection(SOCKET_SECONDS)
