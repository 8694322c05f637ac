"""What every request gets: an id, the caller's address, limits, security headers, a trace of its refusal."""

import contextlib
import ipaddress
import re
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from voiceauth.platform import logs, metrics, stages, tracing
from voiceauth.platform.api.actor import actor_of
from voiceauth.platform.api.exceptions import DATABASE_IS_AWAY, MalformedRequest, answer, explain
from voiceauth.platform.api.parsers import refuse_repeated
from voiceauth.platform.api.paths import API_PATHS
from voiceauth.platform.api.refusals import record_refusal
from voiceauth.platform.api.uploads import UploadTooLarge, most_bytes
from voiceauth.platform.errors import DomainError
from voiceauth.platform.postgresql import preparing

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,36}")

# Everything comes from this server: the admin, its charts and audio players, the API's documentation.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
PERMISSIONS_POLICY = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
DOCS_PATH = "/api/docs"  # Swagger UI writes style elements; scripts stay forbidden there too
REFUSAL = "voiceauth.refusal"  # in the ASGI scope: why the body was not received (``front``)


class RequestContextMiddleware:
    """Sets ``request.request_id`` and ``request.client_ip``; never logs bodies or tokens."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponseBase:
        """Answer the request, and record its refusal once every transaction of it is over."""
        request.request_id = request_id_of(request.headers.get("X-Request-ID", ""))
        request.client_ip = caller_address(
            request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", "")
        )
        marker, begun = logs.request_id.set(request.request_id), time.perf_counter()
        try:
            with tracing.span("request", request_id=request.request_id), stages.recorded() as spent:
                try:
                    _refuse_early(request)
                    # A call finds rows by their keys, always the same way; a list may be narrowed to anything.
                    with preparing() if _is_api(request) and request.method == "POST" else nullcontext():
                        response = self.get_response(request)
                except DomainError as error:
                    response = answer(error, request) if _is_api(request) else explain(error, request)
                _record_refusal(request)
                tracing.name(f"{_method(request)} {_route(request)}")
        finally:
            logs.request_id.reset(marker)
        _add_headers(request, response)
        if request.method == "HEAD" and isinstance(response, HttpResponse):
            response.content = b""  # Content-Length stays; the web server would log bytes that it may not send
        _count(request, response.status_code, time.perf_counter() - begun, spent)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer in the error shape what escapes a view of the API, such as a commit that fails.

        A page that needs the database while it is away says so; every other bug in a page is Django's to show.
        """
        if _is_api(request):
            return answer(exception, request)
        return explain(exception, request) if isinstance(exception, DATABASE_IS_AWAY) else None


def client_ip_of(request: Any) -> str:
    """Return the address that this middleware has found; for ``axes``."""
    return str(getattr(request, "client_ip", ""))


def request_id_of(given: str) -> str:
    """Return the id that the caller gives the request, where it is one; otherwise a new one."""
    return given if SANE_REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def caller_address(remote: str, forwarded_for: str) -> str:
    """Return the address that the outermost of our own proxies saw.

    What comes before it in the header, the caller may have made up.
    """
    candidates = [remote]
    if proxies := settings.VOICEAUTH_TRUSTED_PROXIES:
        forwarded = [part.strip() for part in forwarded_for.split(",")]
        candidates.insert(0, forwarded[-proxies] if len(forwarded) >= proxies else forwarded[0])
    for candidate in candidates:
        with contextlib.suppress(ValueError):  # no address: the next candidate counts
            return str(ipaddress.ip_address(candidate.partition("%")[0]))
    return ""


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(API_PATHS)


def _content_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _refuse_early(request: HttpRequest) -> None:
    """Refuse bodies that are too long to read, NUL, which PostgreSQL cannot store, and a parameter given twice."""
    if (refusal := request.META.get("asgi.scope", {}).get(REFUSAL)) is not None:
        raise refusal
    if not _is_api(request):
        return
    limit = most_bytes(request.content_type or "")
    if _content_length(request) > limit:
        raise UploadTooLarge(limit_bytes=limit)
    if "\x00" in request.path or any("\x00" in part for pair in request.GET.lists() for part in (pair[0], *pair[1])):
        raise MalformedRequest("NUL characters are not allowed.")
    refuse_repeated(request.GET)


def _record_refusal(request: Any) -> None:
    failure, customer_id = getattr(request, "refusal", (None, ""))
    if failure is not None:
        record_refusal(
            failure,
            actor=lambda: actor_of(request),
            customer_id=customer_id,
            method=request.method or "",
            path=request.path,
        )


def _method(request: Any) -> str:
    return request.method if request.method in logs.METHODS else "unknown"


def _route(request: Any) -> str:
    return request.resolver_match.route if request.resolver_match else "unknown"


def _count(request: Any, status: int, seconds: float, spent: dict[str, float]) -> None:
    """Count a request by its route, never by its path."""
    method, route = _method(request), _route(request)
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(method, route).observe(seconds)
    if spent:
        for stage, taken in (spent | {"web": seconds - sum(spent.values())}).items():
            metrics.REQUEST_STAGE_SECONDS.labels(method, route, stage).observe(taken)


def _add_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
    policy = CONTENT_SECURITY_POLICY
    if request.path == DOCS_PATH:
        policy += "; style-src 'self' 'unsafe-inline'"
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    if request.path.startswith(API_PATHS):
        response.headers.setdefault("Cache-Control", "no-store")
