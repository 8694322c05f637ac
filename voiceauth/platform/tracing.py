"""OpenTelemetry: one trace for each request, from the web process through the queue to the worker.

Off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector that speaks OTLP over HTTP. While it is off, a span is an
empty ``with``, and nothing of OpenTelemetry is imported here. Its library reads its other variables itself
(``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, …). A span tells its stage, the route, and the ids of the request and
of the decision: nothing of a caller or a customer, and of an exception only the type.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from voiceauth.platform import env

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

logger = logging.getLogger(__name__)

IS_ON = bool(env.text("OTEL_EXPORTER_OTLP_ENDPOINT"))
OFF: AbstractContextManager[None] = nullcontext()

_lock = threading.Lock()
_provider: "TracerProvider | None" = None
_is_missing = False


def span(name: str, *, parent: str = "", **attributes: str) -> AbstractContextManager[None]:
    """Return a block that is one span of the current trace, or of the one that ``parent`` (``carried``) continues."""
    if not IS_ON or (tracer := _tracer()) is None:
        return OFF
    return _span(tracer, name, parent, attributes)


def carried() -> str:
    """Return the current span in the form of W3C Trace Context, for a message to another process; empty if off."""
    if not IS_ON or _tracer() is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def note(**attributes: str) -> None:
    """Add attributes to the current span: ids and routes, nothing personal."""
    if IS_ON and _tracer() is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(attributes)


def name(text: str) -> None:
    """Give the current span another name, such as the route once it is known."""
    if IS_ON and _tracer() is not None:
        from opentelemetry import trace

        trace.get_current_span().update_name(text)


def flush() -> None:
    """Send what has not been sent yet, before the process ends."""
    if _provider is not None:
        _provider.force_flush()


@contextmanager
def _span(tracer: "Tracer", name: str, parent: str, attributes: dict[str, Any]) -> Iterator[None]:
    from opentelemetry.trace import StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with tracer.start_as_current_span(
        name,
        context,
        attributes=attributes,
        record_exception=False,  # its message may name a customer
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_status(StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__name__)
            raise


def _tracer() -> "Tracer | None":
    """Return the tracer of this process, made on first use: after a pool's process was forked."""
    global _provider, _is_missing
    if _provider is None and not _is_missing:
        with _lock:
            if _provider is None and not _is_missing:
                try:
                    _provider = _new_provider()
                except ImportError:
                    _is_missing = True
                    logger.error("OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install -r requirements-otel.txt")
    return None if _provider is None else _provider.get_tracer("voiceauth")


def _new_provider() -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    part = os.environ.get("VOICEAUTH_WORKER", "web")  # which ``launcher.parts`` sets for workers
    provider = TracerProvider(resource=Resource.create({"service.name": f"voiceauth-{part}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
