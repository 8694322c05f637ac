"""Refused attempts are part of the trail, each in a transaction of its own. Recording never hides the answer."""

import logging
from collections.abc import Callable

from django.db import transaction

from voiceauth.platform import metrics
from voiceauth.platform.api.exceptions import Failure
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)


def record_refusal(failure: Failure, *, actor: Callable[[], Actor], customer_id: str, method: str, path: str) -> None:
    """Count and record a refusal, or that a request failed; without a database it is only counted."""
    metrics.REFUSALS.labels(failure.code).inc()
    if failure.code == DatabaseUnavailable.code:
        return
    failed = failure.status >= 500
    try:
        with transaction.atomic():
            record(
                action="request.failed" if failed else "request.refused",
                outcome=AuditEvent.Outcome.FAILED if failed else AuditEvent.Outcome.REFUSED,
                actor=actor(),
                customer_id=customer_id[:64],
                data={
                    "code": failure.code,
                    "status": failure.status,
                    "method": method[:16],
                    "path": path[:256],
                    # Why a recording was refused, measured.
                    **{key: failure.data[key] for key in ("report",) if key in failure.data},
                },
            )
    except Exception:
        logger.exception("a refused attempt could not be recorded")
