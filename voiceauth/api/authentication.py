"""Bearer tokens. Only their SHA-256 is stored: with 256 random bits, a slow hash would add nothing."""

import hashlib
import re
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from .models import ApiClient

TOKEN = re.compile(r"va_[a-z]+_[A-Za-z0-9_-]{43}")


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer va_<role>_<secret>``; ``request.user`` becomes the ``ApiClient``.

    One answer for an unknown, a revoked and an expired token.
    """

    def authenticate(self, request: Any) -> tuple[ApiClient, None] | None:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = token.strip()
        if TOKEN.fullmatch(token):
            client = ApiClient.objects.filter(token_hash=token_hash(token)).first()
            if client is not None and client.is_usable:
                return client, None
        raise AuthenticationFailed("The token is not valid.")

    def authenticate_header(self, request: Any) -> str:
        return 'Bearer realm="voiceauth"'
