"""What stands before Django: it receives a request's body, so that no thread ever waits for a caller.

Django occupies a thread for each request, and a caller who sends a byte a second would keep that thread. So the event
loop receives the body first, from as many callers as there are sockets. It reads only what may be read: nothing before
the token is known to be valid, no more than the limit, and for no longer than ``VOICEAUTH_UPLOAD_SECONDS``. Then one of
a fixed number of threads runs Django on the complete request. Health has threads of its own.

A request with a body that gets no thread within ``WAIT_SECONDS`` is refused with 503 and ``Retry-After``: more come in
than can be carried out, and a caller who is told at once can use another factor. So those who are served are served in
time. What has no body is answered in milliseconds, and waits.

Bodies stay in memory, where Django's own ASGI handler would spool them to a file. A body that comes in chunks is given
its length here, because WSGI knows no other kind.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import close_old_connections
from django.http.cookie import parse_cookie

from voiceauth.platform.api.authentication import find_client
from voiceauth.platform.api.exceptions import DATABASE_IS_AWAY, DATABASE_RETRY_SECONDS
from voiceauth.platform.api.middleware import REFUSAL
from voiceauth.platform.api.paths import API_PATHS
from voiceauth.platform.api.uploads import Overloaded, TooManyUploads, UploadTooLarge, UploadTooSlow, most_bytes
from voiceauth.platform.errors import DatabaseUnavailable, DomainError

Scope = MutableMapping[str, Any]
Headers = Mapping[bytes, bytes]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

THREADS = 4  # requests that this process carries out at once: more share the same cores, and each costs more
WAIT_SECONDS = 0.3  # for one of these threads
REFUSING_THREADS = 1  # that tell callers that there is no thread
HEALTH_THREADS = {"/healthz": 1, "/readyz": 2, "/api/v1/metrics": 1}  # what is asked when nothing else answers
LOOKUP_THREADS = 2  # that ask the database about tokens
KNOWN_SECONDS, MOST_KNOWN = 5.0, 1000  # for which a token that was valid counts so; only for receiving the body
STRANGERS_BYTES = 64 * 1024  # of a form that somebody sends to a page before signing in
HELD_BYTES = 256 * 1024 * 1024  # bodies that this process holds at once
DRAIN_SECONDS = 2.0  # for the rest of a refused body: closing on unread bytes could cost the caller our answer
ASCII = "".join(map(chr, range(128)))


class Disconnected(Exception):
    """The caller is gone."""


class Front:
    """An ASGI application that hands complete requests to a WSGI application, and the rest to ``websockets``."""

    def __init__(self, application: Any, websockets: Application) -> None:
        self._websockets = websockets
        self._rest = WSGIMiddleware(application, workers=THREADS)
        self._health = {path: WSGIMiddleware(application, workers=number) for path, number in HEALTH_THREADS.items()}
        self._refusing = WSGIMiddleware(application, workers=REFUSING_THREADS)
        self._free = asyncio.Semaphore(THREADS)
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")
        self._held = 0
        self._known: dict[bytes, float] = {}  # SHA-256 of headers with a valid token, and until when they count so

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await self._websockets(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._rest(scope, receive, send)  # type: ignore[arg-type]
            return
        # WSGI cannot tell X_Forwarded_For from X-Forwarded-For, which a proxy has checked.
        pairs = [pair for pair in scope["headers"] if b"_" not in pair[0]]
        headers, body, refusal = dict(pairs), b"", None
        try:
            if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
                body, refusal = await self._received(scope["path"], headers, receive)
                pairs = [pair for pair in pairs if pair[0] not in (b"transfer-encoding", b"content-length")]
                pairs.append((b"content-length", str(len(body)).encode()))
            # A query is ASCII (RFC 3986), but some clients send other bytes as they are.
            more = {"headers": pairs, "query_string": quote(scope["query_string"], safe=ASCII).encode()}
            patience = WAIT_SECONDS if body and refusal is None else None
            await self._carry_out({**scope, **more, REFUSAL: refusal}, _all_of(body), send, patience)
        except Disconnected:
            return
        finally:
            self._held -= len(body)

    async def _carry_out(self, scope: Any, receive: Any, send: Any, patience: float | None) -> None:
        """Run Django on a complete request, or refuse it where no thread is free within ``patience`` seconds."""
        if (health := self._health.get(scope["path"])) is not None:
            await health(scope, receive, send)
            return
        try:
            async with asyncio.timeout(patience):
                await self._free.acquire()
        except TimeoutError:
            scope[REFUSAL] = Overloaded(retry_after_seconds=1)
            await self._refusing(scope, receive, send)
            return
        try:
            await self._rest(scope, receive, send)
        finally:
            self._free.release()

    async def _received(self, path: str, headers: Headers, receive: Receive) -> tuple[bytes, DomainError | None]:
        """Return the body, or none and why it is refused. The body counts as held. Raises ``Disconnected``.

        A stranger's request to the API goes on without its body: its answer is 401 in any case.
        """
        try:
            limit = await self._limit(path, headers)
            if limit:
                return await self._read(limit, headers, receive), None
            refusal = None
        except DomainError as error:
            refusal = error
        if b"expect" not in headers:  # who asks for leave to send the body has not sent it
            await _drain(receive)
        return b"", refusal

    async def _limit(self, path: str, headers: Headers) -> int:
        """How many bytes of a body are read, by who sends it. Raises ``DatabaseUnavailable``.

        Django asks about the token again, so one that was revoked in these seconds can do no more than send its body.
        """
        now, authorization = time.monotonic(), sha256(headers.get(b"authorization", b"")).digest()
        is_api = path.startswith(API_PATHS)
        if is_api and self._known.get(authorization, now) > now:
            return most_bytes(headers.get(b"content-type", b"").decode("latin-1"))
        loop = asyncio.get_running_loop()
        limit = await loop.run_in_executor(self._lookups, _limit, path, headers)
        if is_api and limit:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[authorization] = now + KNOWN_SECONDS
        return limit

    async def _read(self, limit: int, headers: Headers, receive: Receive) -> bytes:
        """Return the body. Raises ``UploadTooLarge``, ``UploadTooSlow``, ``TooManyUploads`` and ``Disconnected``."""
        if int(headers.get(b"content-length", b"0")) > limit:
            raise UploadTooLarge(limit_bytes=limit)
        body, complete = bytearray(), False
        try:
            async with asyncio.timeout(settings.VOICEAUTH_UPLOAD_SECONDS):
                async for chunk in _chunks(receive):
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > limit:
                        raise UploadTooLarge(limit_bytes=limit)
                    if self._held > HELD_BYTES:
                        raise TooManyUploads(retry_after_seconds=1)
            complete = True
        except TimeoutError as error:
            raise UploadTooSlow(limit_seconds=settings.VOICEAUTH_UPLOAD_SECONDS) from error
        finally:
            if not complete:
                self._held -= len(body)
        return bytes(body)


def _limit(path: str, headers: Headers) -> int:
    """Ask the database how many bytes are read, in a thread."""
    close_old_connections()
    try:
        if path.startswith(API_PATHS):
            known = find_client(headers.get(b"authorization", b"").decode("latin-1")) is not None
        else:
            known = _is_signed_in(headers.get(b"cookie", b"").decode("latin-1"))
    except DATABASE_IS_AWAY as error:
        raise DatabaseUnavailable(retry_after_seconds=DATABASE_RETRY_SECONDS) from error
    finally:
        close_old_connections()
    if known:
        return most_bytes(headers.get(b"content-type", b"").decode("latin-1"))
    return 0 if path.startswith(API_PATHS) else STRANGERS_BYTES


def _is_signed_in(cookie: str) -> bool:
    session = parse_cookie(cookie).get(settings.SESSION_COOKIE_NAME)
    return session is not None and SESSION_KEY in SessionStore(session).load()


async def _chunks(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _drain(receive: Receive) -> None:
    left = 4 * settings.VOICEAUTH_MAX_UPLOAD_BYTES
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in _chunks(receive):
                left -= len(chunk)
                if left < 0:
                    return
    except TimeoutError:
        return


def _all_of(body: bytes) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
