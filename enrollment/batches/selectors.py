"""Reads of batch enrollments and their results."""

import json
import uuid
from collections.abc import Iterator

from django.conf import settings
from django.db.models import QuerySet

from enrollment.batches.errors import BatchNotFound, ResultsPurged
from enrollment.batches.models import BatchEnrollment, BatchResult

RESULT_FIELDS = (
    "line",
    "customer_id",
    "state",
    "code",
    "message",
    "accepted",
    "refused",
    "speech_seconds",
    "seconds",
)
ROWS_AT_ONCE = 500


def batches() -> QuerySet[BatchEnrollment]:
    """Return all jobs, the newest first."""
    return BatchEnrollment.objects.order_by("-created_at")


def batch(batch_id: uuid.UUID) -> BatchEnrollment:
    """Return a job. Raises ``BatchNotFound``."""
    found = BatchEnrollment.objects.filter(id=batch_id).first()
    if found is None:
        raise BatchNotFound
    return found


def result_lines(batch: BatchEnrollment) -> Iterator[bytes]:
    """Return the results so far as JSON lines, in the order of the manifest, with a few rows in memory.

    Raises ``ResultsPurged`` before the first line.
    """
    if batch.done and not BatchResult.objects.filter(batch=batch).exists():
        raise ResultsPurged(days=settings.VOICEAUTH_KEEP_BATCH_RESULTS_DAYS)
    return _lines(batch)


def _lines(batch: BatchEnrollment) -> Iterator[bytes]:
    rows = BatchResult.objects.filter(batch=batch).order_by("line").values(*RESULT_FIELDS)
    for row in rows.iterator(chunk_size=ROWS_AT_ONCE):
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
