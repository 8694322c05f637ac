"""The service as its clients see it: one HTTP client for each role."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

BUSY_TRIES = 5  # how often a call that is answered 503 is made, with the pause that the answer names


class RefusedError(Exception):
    """The service refused a call: the HTTP status, the stable code and the message."""

    def __init__(self, response: httpx.Response) -> None:
        try:
            error = response.json()["error"]
            self.code, self.message = str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            self.code, self.message = f"http_{response.status_code}", response.reason_phrase
        self.status = response.status_code
        super().__init__(
            f"{response.request.method} {response.request.url.path}: {self.status} {self.code}: {self.message}"
        )


@dataclass
class Client:
    """The client of one role. It is thread-safe. ``milliseconds`` holds the latency of each answered call by path."""

    url: str
    token: str
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    busy_answers: int = 0

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)

    def get(self, path: str, **query: Any) -> Any:
        """Get one resource."""
        return self._call("GET", path, params=query)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield every row of a paged list."""
        following = {"page_size": 200, **query}
        while True:
            answer = self.get(path, **following)
            yield from answer["results"]
            if not answer["next"]:
                return
            following = dict(httpx.URL(answer["next"]).params)

    def post(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """Post ``content`` as JSON."""
        return self._call("POST", path, json=content or {}, headers={"Idempotency-Key": str(uuid.uuid4())})

    def send_audio(self, path: str, audio: bytes, **fields: Any) -> Any:
        """Post ``audio`` and ``fields`` as multipart. The service recognizes the format by the content."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._call("POST", path, data=fields, files={"audio": ("audio", audio)}, headers=headers)

    def delete(self, path: str) -> Any:
        """Delete a resource."""
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        for attempt in range(1, BUSY_TRIES + 1):
            begun = time.perf_counter()
            response = self._http.request(method, f"/api/v1{path}", **options)
            took = (time.perf_counter() - begun) * 1000
            if response.status_code != 503 or attempt == BUSY_TRIES:
                break
            self.busy_answers += 1
            time.sleep(min(10.0, float(response.headers.get("Retry-After", 1))))
        if response.is_error:
            raise RefusedError(response)
        self.milliseconds.setdefault(path, []).append(took)
        return response.json() if response.content else None


@dataclass(frozen=True)
class Clients:
    """The five programs of the story."""

    teller: Client
    ivr: Client
    reviewer: Client
    operator: Client  # role admin: retrains and promotes
    second_operator: Client  # role admin: approves a forced promotion
