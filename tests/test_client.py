"""``voiceauth.client``: it stands alone, it knows the OpenAPI document, and it repeats what may be repeated."""

import io
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import httpx
import pytest
from django.conf import settings
from pytest_django.live_server_helper import LiveServer

from tests.support.clients import SignedIn
from tests.support.every_endpoint import Sampler, Schema, openapi_document
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, recording
from voiceauth import client as library
from voiceauth.client import Client, Refused, Unavailable

GENERIC = {"get", "pages", "post", "upload", "delete", "close"}
METHODS = [method for name, method in vars(Client).items() if not name.startswith("_") and name not in GENERIC]
ARGUMENTS: dict[Any, Any] = {
    str: "x",
    int: 3,
    float: 1.5,
    datetime | None: datetime(2026, 11, 26, tzinfo=UTC),
    Sequence[str]: ["x"],
    library.Audio: b"audio",
    library.Intervals: [(1.0, 2.0)],
}


def test_it_imports_neither_django_nor_the_service() -> None:
    code = "import sys, voiceauth.client; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert {name.split(".")[0] for name in loaded} & {"django", "rest_framework", "celery", "redis", "psycopg"} == set()
    assert {name for name in loaded if name.startswith("voiceauth")} == {"voiceauth", "voiceauth.client"}


class Contract:
    """Answers each request as the OpenAPI document says, and fails where the document does not know it."""

    def __init__(self, document: Schema) -> None:
        self.document, self.sampler = document, Sampler(document, "x", b"audio")
        self.answered: list[Schema] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        operation = self.operation(request)
        given = {each["name"]: each["in"] for each in operation.get("parameters", [])}
        assert set(request.url.params) <= {name for name, where in given.items() if where == "query"}
        if request.content not in (b"", b"{}"):
            self.check_body(request, operation["requestBody"]["content"])
        status = next(each for each in operation["responses"] if each.startswith("2"))
        schema = self.resolved(operation["responses"][status]["content"]["application/json"]["schema"])
        answer = self.sampler.value(schema, True)
        if "next" in schema["properties"]:
            answer["next"] = None
            schema = self.resolved(schema["properties"]["results"]["items"])
        self.answered.append(schema)
        return httpx.Response(int(status), json=answer)

    def operation(self, request: httpx.Request) -> Schema:
        for template, methods in self.document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, request.url.path) and request.method.lower() in methods:
                return methods[request.method.lower()]
        raise AssertionError(f"no such call: {request.method} {request.url.path}")

    def check_body(self, request: httpx.Request, kinds: Schema) -> None:
        kind = request.headers["Content-Type"].partition(";")[0]
        body = self.resolved(kinds[kind]["schema"])
        if kind == "application/json":
            sent = set(json.loads(request.content))
        else:
            sent = set(re.findall(r'; name="(\w+)"', request.content.decode()))
        assert set(body.get("required", [])) <= sent <= set(body["properties"])

    def check_type(self, kind: Any, schema: Schema, path: str) -> None:
        """Fail where a value that the schema allows does not fit ``kind``."""
        schema = self.resolved(schema)
        if get_origin(kind) in (Union, types.UnionType):
            assert type(None) in get_args(kind)
            kind = next(each for each in get_args(kind) if each is not type(None))
        else:
            assert not schema.get("nullable"), f"{path} may be null"
        if is_dataclass(kind):
            hints = get_type_hints(kind)
            for each in fields(kind):
                assert each.name in schema["properties"], f"{path} has no field {each.name}"
                assert each.name in schema["required"]
                self.check_type(hints[each.name], schema["properties"][each.name], f"{path}.{each.name}")
        elif get_origin(kind) is list:
            self.check_type(get_args(kind)[0], schema["items"], f"{path}[]")
        else:
            name = {str: "string", int: "integer", float: "number", bool: "boolean", datetime: "string"}
            assert schema["type"] == name.get(kind, "object"), path
            assert (schema.get("format") == "date-time") == (kind is datetime), path

    def resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema or "allOf" in schema:
            nullable = schema.get("nullable", False)
            if "allOf" in schema:
                schema = schema["allOf"][0]
            else:
                schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            schema = schema | {"nullable": nullable or schema.get("nullable", False)}
        return schema


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_call_is_one_of_the_openapi_document(method: Callable[..., Any]) -> None:
    contract = Contract(openapi_document())
    hints = get_type_hints(method)
    kind = hints.pop("return")
    with Client("http://voice.example", "token", transport=httpx.MockTransport(contract)) as client:
        answer = method(client, **{name: ARGUMENTS[each] for name, each in hints.items()})
        if get_origin(kind) is Iterator:
            kind, answer = get_args(kind)[0], next(answer)
    assert isinstance(answer, kind)
    contract.check_type(kind, contract.answered[0], kind.__name__)


class Line:
    """A service that answers with what it is told to, one after the other."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.pauses = list(answers), list[float]()
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(status: int, code: str, retry_after: str = "") -> httpx.Response:
    error = {"code": code, "message": "…", "data": {"limit": 3}, "request_id": "r-1"}
    return httpx.Response(status, json={"error": error}, headers={"Retry-After": retry_after})


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Client, Line]]:
    """Connect a client whose pauses take no time, but are counted."""
    clock = [0.0]

    def begin(*answers: httpx.Response | Exception, **options: Any) -> tuple[Client, Line]:
        line = Line(*answers)

        def sleep(seconds: float) -> None:
            clock[0] += seconds
            line.pauses.append(seconds)

        monkeypatch.setattr(library, "time", types.SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
        return Client("http://voice.example", "token", transport=httpx.MockTransport(line), **options), line

    return begin


def test_a_busy_service_is_asked_again_after_the_time_that_it_names_under_the_same_key(connect: Any) -> None:
    busy, throttled = refusal(503, "scoring_unavailable", "2"), refusal(429, "throttled", "1")
    client, line = connect(busy, throttled, httpx.Response(201, json={"ok": 1}))
    assert client.upload("/verify", b"audio", customer_id="ann") == {"ok": 1}
    assert line.pauses == [2, 1]
    assert len({request.headers["Idempotency-Key"] for request in line.requests}) == 1
    assert all(b"\r\n\r\naudio\r\n" in request.content for request in line.requests)


def test_it_gives_up_when_the_pauses_would_take_longer_than_its_patience(connect: Any) -> None:
    client, line = connect(refusal(503, "scoring_unavailable", "6"), patience_seconds=5)
    with pytest.raises(Unavailable) as caught:
        client.get("/customers/ann")
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("scoring_unavailable", 503, 6)
    assert line.pauses == []


def test_a_refusal_has_its_code_and_data_and_is_not_repeated(connect: Any) -> None:
    client, line = connect(refusal(409, "customer_exists"))
    with pytest.raises(Refused, match=r"customer_exists: … \(request r-1\)") as caught:
        client.create_customer("ann")
    error = caught.value
    assert (error.code, error.status, error.data, error.request_id) == ("customer_exists", 409, {"limit": 3}, "r-1")
    assert not isinstance(error, Unavailable) and len(line.requests) == 1


def test_what_is_no_answer_of_the_service_has_a_code_too(connect: Any) -> None:
    for status, kind in ((502, Refused), (503, Unavailable)):
        client, _ = connect(httpx.Response(status, html="<h1>Bad gateway</h1>"))
        with pytest.raises(kind) as caught:
            client.customer("ann")
        assert caught.value.code == f"http_{status}"


def test_a_call_that_does_not_reach_the_service_is_repeated_but_no_deletion(connect: Any) -> None:
    client, line = connect(httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.Response(200, json=[]))
    assert client.get("/customers") == []
    assert line.pauses == [0.5, 1.0]
    client, line = connect(httpx.ReadTimeout("slow"))
    with pytest.raises(Unavailable) as caught:
        client.erase_customer("ann")
    assert caught.value.code == "unreachable" and len(line.requests) == 1


def test_lists_are_read_to_their_end(connect: Any) -> None:
    first = {"results": [{"n": 1}], "next": "http://elsewhere.example/api/v1/cases?cursor=abc&state=OPEN"}
    client, line = connect(httpx.Response(200, json=first), httpx.Response(200, json={"results": [], "next": None}))
    assert list(client.pages("/cases", state="OPEN", kind="")) == [{"n": 1}]
    assert [str(request.url) for request in line.requests] == [
        "http://voice.example/api/v1/cases?page_size=200&state=OPEN",
        "http://voice.example/api/v1/cases?cursor=abc&state=OPEN",
    ]


def test_a_customer_is_enrolled_verified_and_erased_against_the_live_service(
    transactional_db: None,
    live_server: LiveServer,
    teller: SignedIn,
    ivr: SignedIn,
    worker: StandInWorker,
    tmp_path: Path,
) -> None:
    activate_model()
    (tmp_path / "second").write_bytes(recording("ann", take=2, speech_seconds=12))
    with Client(live_server.url, teller.token) as branch, Client(f"{live_server.url}/", ivr.token) as line:
        assert branch.create_customer("ann", display_name="Ann").state == "PENDING"
        with pytest.raises(Refused) as caught:
            branch.enroll("ann", recording("ann"))
        assert caught.value.code == "consent_required"
        assert branch.record_consent("ann", text_version="1", origin="branch").withdrawn_at is None
        first = branch.enroll("ann", io.BytesIO(recording("ann", take=1, speech_seconds=12)))
        assert (first.state, first.remaining_seconds) == ("ENROLLING", 8)
        assert branch.enroll("ann", tmp_path / "second", origin="phone", redact=[]).state == "ENROLLED"
        assert [(each.origin, each.speech_seconds) for each in branch.recordings("ann")][1] == ("phone", 12)
        assert [customer.customer_id for customer in branch.customers(state="ENROLLED")] == ["ann"]
        answer = line.verify("ann", recording("ann", take=3), caller="+442079460958")
        assert answer.accepted and answer.fraud_risk is not None and answer.created_at.tzinfo is not None
        assert not line.verify("ann", recording("bob")).accepted
        with pytest.raises(Refused) as caught:
            line.customer("ann")
        assert caught.value.code == "permission_denied"
        erasure = branch.erase_customer("ann")
        assert erasure.counts["samples"] == 2 and branch.erasure(erasure.erasure_id).customer_id == "ann"


def test_an_identifier_stays_within_its_part_of_the_path() -> None:
    asked: list[bytes] = []

    def line(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(404)

    with (
        Client("http://voice.example", "token", transport=httpx.MockTransport(line)) as client,
        pytest.raises(Refused),
    ):
        client.customer("../models?x#y")
    assert asked == [b"/api/v1/customers/..%2Fmodels%3Fx%23y"]
