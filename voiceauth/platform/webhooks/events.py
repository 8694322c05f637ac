"""Which events of the audit trail are webhooks, and what they say: identifiers, states and the names of measures.

A webhook holds no score, no name and no audio. A receiver that needs more asks the API, as the role that it has.
"""

from typing import Any

from voiceauth.platform.audit.models import AuditEvent

PING = "ping"  # sent by hand, to test an endpoint
FRAUD_RISK = "decision.fraud_risk"
RUN_ENDED = "training_run.ended"
BATCH_ENDED = "batch_enrollment.ended"
CASES = ("case.opened", "case.closed", "case.reopened")
DRIFT = "drift.alarmed"
TYPES = (FRAUD_RISK, *CASES, RUN_ENDED, BATCH_ENDED, DRIFT)

_ENDS = ("succeeded", "failed", "cancelled")
_TYPE_OF = (
    {action: action for action in CASES}
    | {f"training_run.{end}": RUN_ENDED for end in _ENDS}
    | {f"batch_enrollment.{end}": BATCH_ENDED for end in _ENDS}
    | {DRIFT: DRIFT}
)
_NAME_OF = {
    "decision": "decision_id",
    "case": "case_number",
    "training_run": "run_id",
    "batch_enrollment": "batch_id",
    "model": "model_version",
}


def webhook_of(event: AuditEvent) -> tuple[str, dict[str, Any]] | None:
    """Return the type and the data of the webhook that follows from an event; ``None`` where none does."""
    kind = FRAUD_RISK if _is_risky(event) else _TYPE_OF.get(event.action)
    if kind is None:
        return None
    subject, _, identifier = event.target.partition(":")
    data: dict[str, Any] = {_NAME_OF[subject]: identifier}
    if event.customer_id:
        data["customer_id"] = event.customer_id
    if kind == DRIFT:
        data["measures"] = (event.after or {}).get("measures")
    elif kind != FRAUD_RISK:
        data["state"] = (event.after or {}).get("state")
    return kind, data


def _is_risky(event: AuditEvent) -> bool:
    if event.action != "decision.made":
        return False
    risk = event.data.get("fraud_risk")
    return bool(risk) and risk["level"] == "HIGH_RISK"
