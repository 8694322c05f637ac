"""A receiver of webhooks: a real HTTP server that keeps what it is sent and answers as it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import serving


@dataclass
class Listener:
    """``statuses`` are answered in their order; the last one again and again."""

    statuses: list[int] = field(default_factory=lambda: [200])
    location: str = ""  # of a redirect
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @contextmanager
    def running(self) -> Iterator["Listener"]:
        with serving(self._handler()) as self.port:
            yield self

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                listener.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(listener.statuses.pop(0) if len(listener.statuses) > 1 else listener.statuses[0])
                if listener.location:
                    self.send_header("Location", listener.location)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        return Handler
