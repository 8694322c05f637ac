"""Bearer tokens. Only their SHA-256 is stored: with 256 random bits, a slow hash would add nothing."""

import hashlib
import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from voiceauth.platform import stages
from voiceauth.platform.api import throttling
from voiceauth.platform.api.models import ApiClient

TOKEN = re.compile(r"va_[a-z]+_[A-Za-z0-9_-]{43}")
USE_IS_NOTED_EVERY = timedelta(minutes=1)


def token_hash(token: str) -> str:
    """Return the SHA-256 of a token, as it is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_client(authorization: str) -> ApiClient | None:
    """Return the client whose valid token an ``Authorization`` header carries."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not TOKEN.fullmatch(token):
        return None
    hashed = token_hash(token)
    client = ApiClient.objects.filter(Q(token_hash=hashed) | Q(previous_token_hash=hashed)).first()
    return client if client is not None and client.takes(hashed) else None


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer va_<role>_<secret>``; ``request.user`` becomes the ``ApiClient``.

    An unknown, a revoked and an expired token get the same answer. Requests without a valid token are counted by
    address, and too many of them raise ``Throttled``. A valid token is accepted from such an address all the same.
    """

    @stages.timed("authentication")
    def authenticate(self, request: Any) -> tuple[ApiClient, None] | None:
        """Return the client of the token; ``None`` for another scheme or none.

        Raises ``AuthenticationFailed`` and ``Throttled``.
        """
        authorization = request.META.get("HTTP_AUTHORIZATION", "")
        if (client := find_client(authorization)) is not None:
            note_use(client)
            return client, None
        throttling.admit_anonymous(request)
        if authorization.partition(" ")[0].lower() != "bearer":
            return None
        raise AuthenticationFailed("The token is not valid.")

    def authenticate_header(self, request: Any) -> str:
        """Return the ``WWW-Authenticate`` header of a 401."""
        return 'Bearer realm="voiceauth"'


def note_use(client: ApiClient) -> None:
    """Note the time of use, at most once a minute. It never waits for a call that holds the row."""
    now = timezone.now()
    if client.last_used_at is not None and client.last_used_at > now - USE_IS_NOTED_EVERY:
        return
    free = ApiClient.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=client.pk)
    with suppress(OperationalError), transaction.atomic():  # a standby that only reads can still answer reads
        ApiClient.objects.filter(pk__in=free.values("pk")).update(last_used_at=now)
