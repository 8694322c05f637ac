"""Connections to Redis, for everything that uses it: scoring calls, rate limits and the readiness check."""

from functools import cache

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connection(seconds: float) -> Redis:
    """Return this process's pool of connections that wait at most ``seconds`` for Redis; safe between threads."""
    return pool(settings.REDIS_URL, seconds)


@cache
def pool(url: str, seconds: float) -> Redis:
    """Return the pool of connections to ``url``.

    It tries once more, because a pooled connection may be from before a restart of Redis; the client's default retries
    would wait for seconds.
    """
    return Redis.from_url(url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 1))
