"""The service as its clients see it: one HTTP client for each role."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from voiceauth import client

PATIENCE_SECONDS = 60.0


class Client(client.Client):
    """The client of one role. ``milliseconds`` holds the latency of each answered call by path."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        self.milliseconds: dict[str, list[float]] = {}
        self.busy_answers = 0
        hooks = {"request": [_begin], "response": [self._measure]}
        super().__init__(url, token, patience_seconds=PATIENCE_SECONDS, timeout=60, event_hooks=hooks, **options)

    def _measure(self, response: httpx.Response) -> None:
        response.read()
        if response.status_code == 503:
            self.busy_answers += 1
        elif response.is_success:
            took = time.perf_counter() - response.request.extensions["begun"]
            path = response.request.url.path.removeprefix("/api/v1")
            self.milliseconds.setdefault(path, []).append(took * 1000)


def _begin(request: httpx.Request) -> None:
    request.extensions["begun"] = time.perf_counter()


@dataclass(frozen=True)
class Clients:
    """The five programs of the story."""

    teller: Client
    ivr: Client
    reviewer: Client
    operator: Client  # role admin: retrains and promotes
    second_operator: Client  # role admin: approves a forced promotion
