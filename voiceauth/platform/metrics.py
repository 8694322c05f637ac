"""What Prometheus may know: counts and durations, by route, outcome and stage; nothing of a caller or a customer.

The web processes of one machine count together, in memory-mapped files (``PROMETHEUS_MULTIPROC_DIR``, which
``launcher.web`` makes). What workers spend is measured by them and counted by the process that asked. What stands in
the database or in Redis is read when it is asked for: each room registers a ``Reading`` of its own.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, mmap_dict
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 15.0)

# A file that is full grows when something new is counted, and the request fails where no file can grow. These need not:
# they hold 20,000 values. What nobody has written takes no room on the disk.
mmap_dict._INITIAL_MMAP_SIZE = 4 * 1024 * 1024

REQUESTS = Counter("voiceauth_requests", "Requests that were answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "voiceauth_request_seconds", "From the complete request to its answer.", ["method", "route"], buckets=SECONDS
)
REFUSALS = Counter("voiceauth_refusals", "Errors that callers were told, by code; of streams as well.", ["code"])
SCORING_CALLS = Counter("voiceauth_scoring_calls", "Questions to scoring workers, by outcome.", ["question", "outcome"])
STAGE_SECONDS = Histogram(
    "voiceauth_stage_seconds",
    "Stages of a question to a scoring worker: round_trip is all of it, waiting the part before and after the worker.",
    ["question", "stage"],
    buckets=SECONDS,
)
REQUEST_STAGE_SECONDS = Histogram(
    "voiceauth_request_stage_seconds",
    "Stages of a request, which add up to voiceauth_request_seconds; worker and web are what no other stage names.",
    ["method", "route", "stage"],
    buckets=SECONDS,
)
DECISIONS = Counter("voiceauth_decisions", "Decisions, as the trail has them.", ["kind", "decision"])
DECISION_REASONS = Counter("voiceauth_decision_reasons", "Reasons of decisions.", ["kind", "reason"])
STREAMS = Gauge("voiceauth_streams_open", "Calls that are listened to now.", multiprocess_mode="livesum")


@dataclass(frozen=True)
class Reading:
    """One gauge that is read when it is asked for: ``read`` returns its values by the values of its ``labels``."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Mapping[tuple[str, ...], float]]


_readings: list[Reading] = []


def register(*readings: Reading) -> None:
    """Have further gauges read at each scrape. One that fails is left out, and ``voiceauth_reading_failed`` is 1."""
    _readings.extend(readings)


class _Readings(Collector):
    def collect(self) -> Iterable[Metric]:
        """Read every registered gauge."""
        info = GaugeMetricFamily("voiceauth_build_info", "The version of the service.", labels=["version"])
        info.add_metric([settings.VERSION], 1)
        yield info
        failed = GaugeMetricFamily("voiceauth_reading_failed", "Whether a gauge could not be read.", labels=["gauge"])
        for reading in _readings:
            family = GaugeMetricFamily(reading.name, reading.help, labels=reading.labels)
            try:
                values = reading.read()
            except Exception:
                failed.add_metric([reading.name], 1)
                continue
            failed.add_metric([reading.name], 0)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
        yield failed

    def describe(self) -> Iterable[Metric]:
        """Promise nothing: what there is to read is not asked for at the start."""
        return []


def exposition() -> bytes:
    """Return all metrics in Prometheus's text format: those of all web processes of this machine, and the readings."""
    readings, counted = CollectorRegistry(), REGISTRY
    readings.register(_Readings())
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)
    return generate_latest(counted) + generate_latest(readings)
