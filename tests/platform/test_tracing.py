"""Traces: one verification is one trace, from the web process through the queue to the worker."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pytest_django import Settings

from tests.support.clients import SignedIn
from tests.support.customers import consenting_customer
from tests.support.http_server import serving
from tests.support.model import leave_voices_together, put_into_service, register_untrained
from tests.support.waiting import until
from tests.support.web import running_web
from tests.support.workers import running_worker
from voiceauth.client import Client
from voiceauth.demo import voices

ATTRIBUTES = {"request_id", "decision_id", "error.type"}


class Span:
    """A span as the collector received it."""

    def __init__(self, service: str, span: Any) -> None:
        self.service, self.name = service, span.name
        self.trace, self.id, self.parent = span.trace_id, span.span_id, span.parent_span_id
        self.attributes = {each.key: each.value.string_value for each in span.attributes}
        self.events = list(span.events)


def collector(received: list[bytes]) -> type[BaseHTTPRequestHandler]:
    """An OTLP receiver, which keeps what it receives."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    return Collector


def spans_of(received: list[bytes]) -> list[Span]:
    found = []
    for content in list(received):
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                found += [Span(said["service.name"], span) for span in scope.spans]
    return found


@pytest.mark.django_db(transaction=True)
def test_one_verification_is_one_trace_of_web_and_worker_and_tells_nothing_personal(
    ivr: SignedIn, tmp_path: Path, settings: Settings
) -> None:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    ann, bob = voices.recording(0, 0), voices.recording(1, 0)
    put_into_service(register_untrained(tmp_path, apart=(ann, bob)))
    leave_voices_together()
    consenting_customer("ann-of-the-bank")
    received: list[bytes] = []
    with serving(collector(received)) as port:
        traced: dict[str, Any] = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # milliseconds
            "VOICEAUTH_SCORING_DEADLINE_SECONDS": "30",
        }
        with (
            running_worker(tmp_path / "scoring.log", "scoring", VOICEAUTH_WORKER="scoring", **traced),
            running_web(tmp_path, **traced) as web,
            Client(f"http://127.0.0.1:{web}", token=ivr.token, patience_seconds=200, timeout=60) as client,
        ):
            decision = client.verify("stranger-to-the-bank", ann)
            spans = until(lambda: trace_of(decision.decision_id, spans_of(received)))
    by_name = {span.name: span for span in spans}
    request, ask, answer = by_name["POST api/v1/verify"], by_name["ask verify_call"], by_name["answer verify_call"]
    assert len({span.trace for span in spans}) == 1
    assert (request.parent, ask.parent, answer.parent) == (b"", request.id, ask.id)
    assert (request.service, answer.service) == ("voiceauth-web", "voiceauth-scoring")
    for stage in ("decode", "speech", "network"):
        assert by_name[stage].service == "voiceauth-scoring" and by_name[stage].trace == answer.trace
    assert by_name["database"].service == "voiceauth-web"
    assert request.attributes["request_id"]
    assert {name for span in spans for name in span.attributes} <= ATTRIBUTES
    assert not any(span.events for span in spans)
    assert not any(b"to-the-bank" in content for content in received)


def trace_of(decision_id: str, spans: list[Span]) -> list[Span]:
    """The spans of the trace that made the decision, once the last one of both processes has arrived."""
    traces = {span.trace for span in spans if span.attributes.get("decision_id") == decision_id}
    found = [span for span in spans if span.trace in traces]
    return found if {"POST api/v1/verify", "answer verify_call"} <= {span.name for span in found} else []


def test_nothing_of_it_is_imported_where_it_is_off() -> None:
    code = (
        "import django, sys; django.setup(); import voiceauth.asgi; from voiceauth.platform import tracing\n"
        "with tracing.span('x'): tracing.note(a='b'); assert tracing.carried() == ''\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.exporter')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=configured.BASE_DIR, env=dict(os.environ), check=True)


def test_the_message_of_an_exception_is_not_told() -> None:
    received: list[bytes] = []
    code = (
        "import django; django.setup(); from voiceauth.platform import tracing\n"
        "try:\n    with tracing.span('x'): raise ValueError('ann')\nexcept ValueError: pass"
    )
    with serving(collector(received)) as port:
        variables = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        subprocess.run([sys.executable, "-c", code], cwd=configured.BASE_DIR, env=variables, check=True)
    (span,) = spans_of(received)
    assert span.attributes == {"error.type": "ValueError"} and b"ann" not in b"".join(received)
