"""The real web server: callers who are slow, or whom nobody knows, keep no thread from the others."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from enrollment.batches.models import BatchEnrollment
from enrollment.models import Customer
from tests.support.clients import api_client
from tests.support.web import running_web
from voiceauth.platform.api import front
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db(transaction=True)

UPLOAD_SECONDS = HEADER_SECONDS = 5.0
PATIENCE = 60.0  # seconds: far more than an answer takes, and far less than a caller who never ends
MB = 1024 * 1024
MANY = 2 * 8 + 24  # more than the threads of both processes


@pytest.fixture(scope="module")
def port(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server on the test database."""
    folder = tmp_path_factory.mktemp("web")
    environment = {
        "VOICEAUTH_UPLOAD_SECONDS": str(UPLOAD_SECONDS),
        "VOICEAUTH_HEADER_SECONDS": str(HEADER_SECONDS),
        "VOICEAUTH_TRUSTED_PROXIES": "1",
        "VOICEAUTH_BATCH_DIR": str(folder),
    }
    with running_web(folder, **environment) as number:
        yield number


class Caller:
    """A connection that sends what it is told, byte by byte."""

    def __init__(self, port: int, *lines: str, token: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        lines += (f"Authorization: Bearer {token}",) if token else ()
        self.send("\r\n".join([*lines, "Host: localhost", "Connection: close", "", ""]).encode())

    def send(self, content: bytes) -> "Caller":
        self.socket.sendall(content)
        return self

    def answer(self) -> tuple[int, Any]:
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        content = response.read()
        self.socket.close()
        return response.status, json.loads(content) if content.startswith(b"{") else content

    def waits(self) -> bool:
        """Whether no answer has come yet."""
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)


FORM = "Content-Type: multipart/form-data; boundary=form"
PART = b'--form\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n--form--\r\n'


def chunks(content: bytes, size: int = 7) -> Iterable[bytes]:
    for at in range(0, len(content), size):
        piece = content[at : at + size]
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


def ask(port: int, path: str, token: str = "") -> tuple[int, Any]:
    return Caller(port, f"GET {path} HTTP/1.1", token=token).answer()


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


def test_uploads_without_a_token_that_never_end_keep_nobody_waiting(port: int) -> None:
    token = api_client("teller").token
    slow = [
        Caller(port, "POST /api/v1/verify HTTP/1.1", FORM, "Content-Length: 9000000").send(b"--form")
        for _ in range(MANY)
    ]
    assert ask(port, "/healthz")[0] == 200
    assert ask(port, "/api/v1/customers", token)[0] == 200
    assert {code(each.answer()) for each in slow} == {(401, "not_authenticated")}


@pytest.mark.parametrize("framing", ["Content-Length: 9000000", "Transfer-Encoding: chunked"])
def test_uploads_with_a_token_that_never_end_are_given_up_and_keep_nobody_waiting(port: int, framing: str) -> None:
    token = api_client("ivr").token
    slow = [
        Caller(port, "POST /api/v1/verify HTTP/1.1", FORM, framing, token=token).send(b"1\r\na") for _ in range(MANY)
    ]
    assert ask(port, "/healthz")[0] == 200
    assert ask(port, "/readyz")[0] in (200, 503)
    assert all(each.waits() for each in slow)
    assert {code(each.answer()) for each in slow} == {(408, "upload_too_slow")}


def test_headers_that_never_end_are_given_up_and_keep_nobody_waiting(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(MANY)]
    for each in slow:
        each.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
    assert ask(port, "/healthz")[0] == 200
    for each in slow:
        while each.recv(1024):  # an answer 408, or nothing; then the server closes
            continue
        each.close()


def test_a_stranger_is_refused_before_the_body_is_asked_for(port: int) -> None:
    for token in ("", "va_ivr_" + "x" * 43):
        caller = Caller(
            port, "POST /api/v1/verify HTTP/1.1", FORM, "Content-Length: 9000000", "Expect: 100-continue", token=token
        )
        assert caller.answer()[0] == 401  # and no 100 before it


def test_a_stranger_who_sends_all_of_a_large_body_still_hears_why_it_is_refused(port: int) -> None:
    caller = Caller(port, "POST /api/v1/verify HTTP/1.1", FORM, f"Content-Length: {9 * MB}").send(bytes(9 * MB))
    assert code(caller.answer()) == (401, "not_authenticated")


def test_json_and_forms_without_a_length_are_read(port: int) -> None:
    teller = api_client("teller").token
    form = "Content-Type: application/json"
    caller = Caller(port, "POST /api/v1/customers HTTP/1.1", form, "Transfer-Encoding: chunked", token=teller)
    for piece in chunks(b'{"customer_id": "ann"}'):
        caller.send(piece)
    assert caller.answer()[0] == 201 and Customer.objects.get().customer_id == "ann"

    caller = Caller(port, "POST /api/v1/batch-enrollments HTTP/1.1", FORM, "Transfer-Encoding: chunked", token=teller)
    for piece in chunks(PART % (b"manifest", b'{"customer_id": "bob"}\n'), 50):
        caller.send(piece)
    assert caller.answer()[0] == 202 and BatchEnrollment.objects.exists()


@pytest.mark.parametrize("framing", [f"Content-Length: {12 * MB}", "Transfer-Encoding: chunked"])
def test_a_body_beyond_the_limit_is_refused_whether_or_not_it_tells_its_length(port: int, framing: str) -> None:
    caller = Caller(port, "POST /api/v1/verify HTTP/1.1", FORM, framing, token=api_client("ivr").token)
    for piece in chunks(bytes(12 * MB), MB) if "chunked" in framing else [bytes(12 * MB)]:
        caller.send(piece)
    status, body = caller.answer()
    assert (status, body["error"]["code"]) == (413, "upload_too_large")
    assert body["error"]["data"] == {"limit_bytes": 11 * MB}


def test_a_caller_who_leaves_in_the_middle_leaves_nothing_behind(port: int) -> None:
    token = api_client("ivr").token
    for _ in range(MANY):
        caller = Caller(port, "POST /api/v1/verify HTTP/1.1", FORM, "Content-Length: 100", token=token)
        caller.send(b"--form").socket.close()
    assert ask(port, "/healthz")[0] == 200
    assert not AuditEvent.objects.filter(action="request.failed").exists()


def test_a_header_with_an_underscore_is_not_taken_for_the_proxys(port: int) -> None:
    Caller(
        port, "GET /api/v1/customers HTTP/1.1", "X-Forwarded-For: 203.0.113.5", "X_Forwarded_For: 192.0.2.66"
    ).answer()
    assert AuditEvent.objects.get(action="request.refused").ip_address == "203.0.113.5"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("?customer_id=\xe9", 200),
        ("?customer_id=%C3%A9", 200),
        ("/\xe9", 404),
        ("/%FF", 404),
    ],
)
def test_bytes_that_no_address_should_hold_break_nothing(port: int, path: str, status: int) -> None:
    assert ask(port, f"/api/v1/customers{path}", api_client("teller").token)[0] == status


def test_a_page_takes_a_small_form_from_a_stranger_and_no_large_one(port: int) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    small = Caller(port, "POST /admin/login/ HTTP/1.1", form, "Content-Length: 10").send(b"username=a")
    assert small.answer()[0] == 403  # no CSRF token
    large = Caller(port, "POST /admin/login/ HTTP/1.1", form, f"Content-Length: {MB}").send(bytes(MB))
    status, page = large.answer()
    assert status == 413 and b"too large" in page


def test_bodies_that_together_take_too_much_memory_are_refused_and_then_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HELD_BYTES", 10)
    monkeypatch.setattr(front, "_limit", lambda path, headers: 100)
    refusals = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        refusals.append(environ["asgi.scope"][front.REFUSAL])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    async def no_websockets(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope)

    async def send_all(server: front.Front, *bodies: bytes) -> list[bytes]:
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        for body in bodies:
            headers = [(b"content-length", str(len(body)).encode())]
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/api/v1/verify",
                "headers": headers,
                "query_string": b"",
            }
            scope |= {"http_version": "1.1"}
            await server(scope, front._all_of(body), send)
        return [body for body in sent if body]

    assert asyncio.run(send_all(front.Front(application, websockets=no_websockets), b"a" * 8, b"b" * 11, b"c" * 8)) == [
        b"a" * 8,
        b"c" * 8,
    ]
    assert [getattr(each, "code", None) for each in refusals] == [None, "too_many_uploads", None]


def test_a_request_without_a_free_thread_is_refused_while_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "WAIT_SECONDS", 0)
    monkeypatch.setattr(front, "_limit", lambda path, headers: 100)
    under_way, over = threading.Semaphore(0), threading.Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        refusal = environ["asgi.scope"]["voiceauth.refusal"]
        if refusal is None and environ["PATH_INFO"] != "/healthz":
            under_way.release()
            over.wait(PATIENCE)
        start_response("200 OK", [])
        return [getattr(refusal, "code", "served").encode()]

    async def no_websockets(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    async def answer(server: front.Front, path: str) -> bytes:
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"content-length", b"1")],
            "query_string": b"",
            "http_version": "1.1",
        }
        await server(scope, front._all_of(b"a"), send)
        return b"".join(sent)

    async def calls() -> list[bytes]:
        server = front.Front(application, websockets=no_websockets)
        busy = [asyncio.create_task(answer(server, "/api/v1/verify")) for _ in range(front.THREADS)]
        for _ in busy:
            await asyncio.to_thread(under_way.acquire)
        refused = [await answer(server, path) for path in ("/api/v1/verify", "/healthz")]
        over.set()
        served = await asyncio.gather(*busy)
        return [*refused, *served, await answer(server, "/api/v1/verify")]

    answers = asyncio.run(calls())
    assert answers[:2] == [b"overloaded", b"served"]  # health has threads of its own
    assert answers[2:] == [b"served"] * (front.THREADS + 1)
