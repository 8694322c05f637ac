"""Callers: threads that verify customers of their own through the Python client, and keep what became of each call."""

import itertools
import json
import random
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from voiceauth.benchmarks.service import Service
from voiceauth.benchmarks.voices import RATE, Voice
from voiceauth.client import Client, Refused, Verification

CUSTOMERS = 8
MOST_AT_ONCE = 256
MOST_A_SECOND = 40  # calls that two cores could answer
TIMEOUT_SECONDS = 30.0
PIECE_BYTES = RATE // 10  # of mu-law in one message of a stream

# Few callers make many calls, and all are one voice's variations; everything else is as it comes. One voice that claims
# three customers would get a case, which every further call locks and adds to.
ENVIRONMENT = {
    "VOICEAUTH_VELOCITY_CUSTOMERS": "100",
    "VOICEAUTH_RATE_LIMITS": "calls=1000000,writes=1000000,reads=1000000",
    "VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS": "60",
}
POLICY = {
    "enrollment": {"default": {"duplicate_voice_llr": 100, "min_one_voice_llr": -100}},
    "verification": {"delay_after": 100, "lock_after": 100},
}


@dataclass
class Attempt:
    """One request of a call: when it was sent, by the clock ``time.monotonic``, and the status or the error."""

    at: float
    seconds: float
    outcome: str


@dataclass
class Call:
    """A verification, with its repeats, as one client made it. ``answer`` is missing where the client gave up."""

    customer_id: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    attempts: list[Attempt] = field(default_factory=list)
    answer: Verification | None = None
    refusal: str = ""  # its code

    @property
    def outcome(self) -> str:
        """The decision, or the code of the error."""
        return self.answer.decision if self.answer else self.refusal


class _Watched(httpx.BaseTransport):
    """Sends requests under the id of the call at hand, and notes what became of each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport = httpx.HTTPTransport(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
        self.call = threading.local()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call: Call | None = getattr(self.call, "value", None)
        at, outcome = time.monotonic(), ""
        request.url = request.url.copy_with(port=self._service.entry)
        if call is not None:
            request.headers["X-Request-ID"] = call.request_id
        try:
            response = self._transport.handle_request(request)
            response.read()
            outcome = str(response.status_code)
            if response.is_error:
                outcome += f" {_code(response)}"
            return response
        except httpx.TransportError as error:
            outcome = type(error).__name__
            raise
        finally:
            if call is not None:
                call.attempts.append(Attempt(at, time.monotonic() - at, outcome))

    def close(self) -> None:
        self._transport.close()


class Callers:
    """Customers of a service, enrolled when it is made, and their calls.

    A call is repeated as ``voiceauth.client`` does it, for ``patience_seconds``.
    """

    def __init__(self, service: Service, *, patience_seconds: float = 0.0, customers: int = CUSTOMERS) -> None:
        self.service = service
        self._watched = _Watched(service)
        self._client = Client(
            service.url,
            service.token["ivr"],
            patience_seconds=patience_seconds,
            timeout=TIMEOUT_SECONDS,
            transport=self._watched,
        )
        self._voices = [Voice(number, customers) for number in range(customers)]
        self._takes = itertools.count()
        self._stock: defaultdict[float, deque[tuple[Voice, bytes]]] = defaultdict(deque)
        self._enroll()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _enroll(self) -> None:
        with Client(self.service.url, self.service.token["admin"]) as admin:
            admin.post("/policies", {"based_on": 0, "reason": "A benchmark.", "content": POLICY})
        with Client(self.service.url, self.service.token["teller"], patience_seconds=60) as teller:
            for voice in self._voices:
                teller.create_customer(_id(voice))
                teller.record_consent(_id(voice), text_version="benchmark", origin="branch")
                teller.enroll(_id(voice), voice.enrollment())

    def call(self, clip_seconds: float) -> Call:
        """Make one call, which nobody has heard before."""
        voice, content = self._next(clip_seconds)
        self._watched.call.value = call = Call(_id(voice))
        try:
            call.answer = self._client.verify(call.customer_id, content)
        except Refused as error:
            call.refusal = error.code
        finally:
            call.seconds = time.monotonic() - call.at
            self._watched.call.value = None
        return call

    def stream(self, clip_seconds: float) -> Call:
        """Make one call by WebSocket, played in its own time."""
        voice, content = self._next(clip_seconds)
        samples = content[content.index(b"data") + 8 :]
        call, outcome = Call(_id(voice)), ""
        headers = {"Authorization": f"Bearer {self.service.token['ivr']}", "X-Request-ID": call.request_id}
        url = f"ws://127.0.0.1:{self.service.entry}/api/v1/stream"
        try:
            with connect(url, additional_headers=headers) as socket:
                claim = {"customParameters": {"customer_id": call.customer_id}}
                socket.send(json.dumps({"event": "start", "start": claim}))
                with suppress(ConnectionClosed):  # it may be answered before it ends
                    for at in range(0, len(samples), PIECE_BYTES):
                        time.sleep(PIECE_BYTES / RATE)
                        socket.send(samples[at : at + PIECE_BYTES])
                    socket.send('{"event": "stop"}')
                told: Any = {"event": ""}
                while told["event"] not in ("decision", "error"):
                    told = json.loads(socket.recv(TIMEOUT_SECONDS))
                if told["event"] == "decision":
                    call.answer, outcome = msgspec.convert(told["decision"], Verification), "200 by stream"
                else:
                    outcome = f"stream {told['error']['code']}"
        except (OSError, WebSocketException) as error:
            outcome = f"stream {type(error).__name__}"
        call.seconds = time.monotonic() - call.at
        call.attempts.append(Attempt(call.at, call.seconds, outcome))
        return call

    def recording(self, clip_seconds: float) -> bytes:
        """Return the recording of a call, which nobody has heard before."""
        return self._next(clip_seconds)[1]

    def _next(self, clip_seconds: float) -> tuple[Voice, bytes]:
        try:
            return self._stock[clip_seconds].popleft()
        except IndexError:
            return self._made(clip_seconds)

    def _made(self, clip_seconds: float) -> tuple[Voice, bytes]:
        take = next(self._takes)
        voice = self._voices[take % len(self._voices)]
        return voice, voice.call(clip_seconds, take)

    def _keep_in_stock(self, clip_seconds: float, number: int) -> None:
        """Make recordings before they are measured: each takes 5 ms of the processor that the service needs."""
        stock = self._stock[clip_seconds]
        stock.extend(self._made(clip_seconds) for _ in range(number - len(stock)))

    def together(self, callers: int, clip_seconds: float, *, calls: int = 0, seconds: float = 0.0) -> list[Call]:
        """Let so many callers call again and again: ``calls`` in all, or for so many ``seconds``."""
        self._keep_in_stock(clip_seconds, calls or round(seconds * MOST_A_SECOND))
        left, ends = itertools.count(), time.monotonic() + seconds

        def call_on() -> list[Call]:
            made = []
            while next(left) < calls or time.monotonic() < ends:
                made.append(self.call(clip_seconds))
            return made

        return self._all([call_on] * callers)

    def at_rate(self, rate: float, clip_seconds: float, *, seconds: float) -> list[Call]:
        """Let ``rate`` calls a second begin, at random moments, however many have not ended."""
        at, moments = 0.0, list[float]()
        while (at := at + random.expovariate(rate)) < seconds:
            moments.append(at)
        self._keep_in_stock(clip_seconds, len(moments))
        begun = time.monotonic()

        def call_at(moment: float) -> list[Call]:
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            return [self.call(clip_seconds)]

        return self._all([partial(call_at, moment) for moment in moments])

    def _all(self, work: list[Callable[[], list[Call]]]) -> list[Call]:
        with ThreadPoolExecutor(min(len(work), MOST_AT_ONCE)) as pool:
            return [call for made in pool.map(lambda each: each(), work) for call in made]


def _id(voice: Voice) -> str:
    return f"benchmark-{voice.number}"


def _code(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return ""
