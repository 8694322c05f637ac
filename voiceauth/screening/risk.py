"""What hits amount to: the ``fraud_risk`` of an answer."""

from collections.abc import Iterable, Mapping
from typing import Any

KNOWN_FRAUDSTER, REPLAY, VELOCITY, DUPLICATE_VOICE = "KNOWN_FRAUDSTER", "REPLAY", "VELOCITY", "DUPLICATE_VOICE"
HIGH_RISK, LOW_RISK = "HIGH_RISK", "LOW_RISK"

Hit = Mapping[str, Any]  # reason, score (0 to 1), and what its reason needs


def fraud_risk(hits: Iterable[Hit]) -> dict[str, Any]:
    """``{level, reasons: [{code, score}]}``: each reason once, with its highest score, the highest first."""
    highest: dict[str, float] = {}
    for hit in hits:
        highest[hit["reason"]] = max(float(hit["score"]), highest.get(hit["reason"], 0.0))
    ranked = sorted(highest.items(), key=lambda each: (-each[1], each[0]))
    reasons = [{"code": code, "score": score} for code, score in ranked]
    return {"level": HIGH_RISK if reasons else LOW_RISK, "reasons": reasons}
