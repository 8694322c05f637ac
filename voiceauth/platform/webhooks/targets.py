"""Where webhooks may go: to public addresses by TLS, and into the networks of ``VOICEAUTH_WEBHOOK_NETWORKS``.

Whoever may create an endpoint must not reach the services beside us through it (server-side request forgery). A name
is resolved once, each address is checked, and the connection goes to the checked address itself. So a name server that
answers differently a moment later (DNS rebinding) changes nothing. Redirects are not followed.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore
from django.conf import settings

from voiceauth.platform.webhooks.errors import InvalidWebhookUrl, WebhookTargetRefused

TIMEOUT_SECONDS = 5.0  # to connect, and for each read and write
EMBEDDING = [ipaddress.IPv6Network(prefix) for prefix in ("::ffff:0:0/96", "64:ff9b::/96", "::/96")]  # hold an IPv4

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check(url: str) -> None:
    """Refuse an address that cannot receive webhooks. Raises ``InvalidWebhookUrl`` and ``WebhookTargetRefused``.

    A name that cannot be resolved passes here: a web process may have no name server. It is checked on each delivery.
    """
    parts = _parts(url)
    try:
        _checked(parts.hostname or "", parts.port or 0, by_tls=parts.scheme == "https")
    except OSError:
        return


def post(url: str, body: bytes, headers: Mapping[str | bytes, str | bytes]) -> int:
    """Send ``body`` to ``url``, and return the status of the answer, whose content is not read.

    Raises ``InvalidWebhookUrl``, ``WebhookTargetRefused``, ``OSError`` and the errors of httpcore.
    """
    network = _CheckedNetwork(by_tls=_parts(url).scheme == "https")
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
    with (
        httpcore.ConnectionPool(ssl_context=ssl.create_default_context(), network_backend=network) as pool,
        pool.stream("POST", url, headers=headers, content=body, extensions={"timeout": timeouts}) as response,
    ):
        return response.status


class _CheckedNetwork(httpcore.SyncBackend):
    """Connects to addresses that were checked. TLS still asks for the certificate of the name."""

    def __init__(self, *, by_tls: bool) -> None:
        super().__init__()
        self.by_tls = by_tls

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        """Connect to the first checked address that answers."""
        failure: Exception | None = None
        for address in _checked(host, port, by_tls=self.by_tls):
            try:
                return super().connect_tcp(str(address), port, *args, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        """Refuse."""
        raise httpcore.ConnectError("not supported")


def _parts(url: str) -> Any:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise InvalidWebhookUrl(url=url) from None
    if not usable or parts.username is not None or parts.fragment or not url.isascii() or not url.isprintable():
        raise InvalidWebhookUrl(url=url)
    return parts


def _checked(host: str, port: int, *, by_tls: bool) -> list[Address]:
    """Return the addresses of ``host`` that may be reached. Raises ``OSError`` and ``WebhookTargetRefused``."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host} is no name") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found))
    permitted = [each for each in addresses if _is_allowed(each) or (by_tls and _is_public(each))]
    if not permitted:
        raise WebhookTargetRefused(host=host)
    return permitted


def _is_allowed(address: Address) -> bool:
    networks: Iterable[Any] = settings.VOICEAUTH_WEBHOOK_NETWORKS
    return any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in prefix for prefix in EMBEDDING):
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if (embedded := address.sixtofour) is not None:
            return _is_public(embedded)
    return address.is_global and not address.is_multicast
