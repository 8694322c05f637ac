"""How many calls a minute: counted in Redis, so that all web processes count together.

It is a token bucket as the generic cell rate algorithm (ATM Forum, I.371). Redis holds one number for each client and
class: the time at which the bucket will be full again, which one script moves on atomically. A client may make
``limit`` calls at once, and gets one more every ``60 / limit`` seconds.

While Redis does not answer, every request is admitted. What needs no Redis (consent, erasure, reads) must keep working
without it, and what needs it (calls, enrollment) answers ``scoring_unavailable``.
"""

import logging
import math
from typing import Any

import redis
from django.conf import settings
from rest_framework.throttling import BaseThrottle

from voiceauth.platform import stages
from voiceauth.platform.api import roles
from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.api.permissions import scope_of
from voiceauth.platform.errors import DomainError
from voiceauth.platform.redis import connection as shared_connection

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
SOCKET_SECONDS = 0.25  # the longest that a Redis that hangs may delay a request

# KEYS: the bucket; a mark that a refusal in this window was recorded.
# ARGV: microseconds a call, calls at once, seconds of a window.
# Returns the microseconds to wait, 0 where the call is admitted, and whether this is the window's first refusal.
_ADMIT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + interval
local wait = full_at - burst * interval - now
if wait > 0 then
  return {wait, redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[3]) and 1 or 0}
end
redis.call('SET', KEYS[1], full_at, 'PX', math.ceil((full_at - now) / 1000))
return {0, 0}
"""
_GIVE_BACK = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DECRBY', KEYS[1], ARGV[1]) end
"""


class Throttled(DomainError):
    """Carries ``retry_after_seconds`` and ``limit_per_minute``. The trail records only the first in a window."""

    code = "throttled"
    status = 429
    message = "Too many calls. Wait for `retry_after_seconds`, then call again."

    def __init__(self, *, retry_after_seconds: float, limit_per_minute: int, audited: bool) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds, limit_per_minute=limit_per_minute)
        self.audited = audited


class ClientThrottle(BaseThrottle):
    """Counts a client's call against the rate of its class (``roles.rate_class``). Raises ``Throttled``."""

    @stages.timed("authentication")
    def allow_request(self, request: Any, view: Any) -> bool:
        """Count the call. Raises ``Throttled``."""
        if isinstance(request.user, ApiClient):
            request.counted = _counted(request.user, scope_of(view, request.method), request.method)
            admit(*request.counted)
        return True


def admit_client(client: ApiClient, scope: str) -> None:
    """Count a call of ``scope`` that is no request, such as a stream. Raises ``Throttled``."""
    admit(*_counted(client, scope, "POST"))


def admit_anonymous(request: Any) -> None:
    """Count a request without a valid token, or a sign-in, by the caller's address. Raises ``Throttled``."""
    admit_address(getattr(request, "client_ip", ""))


def admit_address(address: str) -> None:
    """Count an attempt without a valid token. Raises ``Throttled``."""
    admit(f"anonymous:{address}", settings.VOICEAUTH_RATE_LIMITS["anonymous"])


def admit(who: str, limit: int) -> None:
    """Take one of the ``limit`` calls a minute of ``who``. Raises ``Throttled`` where there is none left."""
    keys = [f"rate:{who}", f"rate-refused:{who}"]
    try:
        script = connection().register_script(_ADMIT)
        wait, is_first = script(keys=keys, args=[_interval(limit), limit, WINDOW_SECONDS])
    except redis.RedisError as error:
        logger.warning("rates are not limited: Redis does not answer (%s)", type(error).__name__)
        return
    if wait:
        seconds = math.ceil(wait / 10_000) / 100
        raise Throttled(retry_after_seconds=seconds, limit_per_minute=limit, audited=bool(is_first))


def give_back(request: Any) -> None:
    """Do not count the call: it was a repeat that is answered from what is stored."""
    who, limit = request.counted
    try:
        connection().register_script(_GIVE_BACK)(keys=[f"rate:{who}"], args=[_interval(limit)])
    except redis.RedisError as error:
        logger.warning("a repeat was counted: Redis does not answer (%s)", type(error).__name__)


def connection() -> redis.Redis:
    """Return this process's connections to Redis."""
    return shared_connection(SOCKET_SECONDS)


def _counted(client: ApiClient, scope: str, method: str) -> tuple[str, int]:
    """Return whose bucket a call is taken from, and how large that is."""
    kind = roles.rate_class(scope, method)
    return f"{client.pk}:{kind}", client.rate_limits.get(kind, settings.VOICEAUTH_RATE_LIMITS[kind])


def _interval(limit: int) -> int:
    """Microseconds for each of ``limit`` calls a minute."""
    return WINDOW_SECONDS * 1_000_000 // limit
