"""Why a voice is suspicious, and what the hits of a call amount to: the ``fraud_risk`` of an answer.

The reasons are named here and nowhere else; the enrollment gate, verification and review cases take them from here.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

KNOWN_FRAUDSTER = "KNOWN_FRAUDSTER"  # the voice is on a watchlist
REPLAY = "REPLAY"  # the recording was heard before
VELOCITY = "VELOCITY"  # one voice claims to be many customers
DUPLICATE_VOICE = "DUPLICATE_VOICE"  # the voice is enrolled as another customer's
HIGH_RISK, LOW_RISK = "HIGH_RISK", "LOW_RISK"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One thing that is suspicious about a voice. Which of the further fields are set depends on the reason."""

    reason: str
    score: float  # from 0 to 1: a probability, or of a REPLAY the share of the recording that was recognized
    log_likelihood_ratio: float | None = None  # natural logarithm
    fraudster_id: str | None = None  # KNOWN_FRAUDSTER
    customer_id: str | None = None  # DUPLICATE_VOICE: the other customer
    count: int | None = None  # VELOCITY: customers whom the voice claimed
    customers: tuple[str, ...] = ()  # VELOCITY: the other customers, the likeliest first
    aligned: int | None = None  # REPLAY: pairs of spectral peaks that agree
    offset_seconds: float | None = None  # REPLAY: where the recording begins in the one heard before
    stretches: tuple[tuple[float, float], ...] = ()  # REPLAY: what repeats it, (start, end) in seconds
    heard_in_sample: str | None = None  # REPLAY: the enrollment recording that it is
    heard_in_decision: str | None = None  # REPLAY: or the call that it is

    def evidence(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values, for a review case."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def fraud_risk(hits: Iterable[Hit]) -> dict[str, Any]:
    """Return ``{level, reasons: [{code, score}]}``: each reason once with its highest score, the highest first."""
    highest: dict[str, float] = {}
    for hit in hits:
        highest[hit.reason] = max(hit.score, highest.get(hit.reason, 0.0))
    ranked = sorted(highest.items(), key=lambda each: (-each[1], each[0]))
    reasons = [{"code": code, "score": score} for code, score in ranked]
    return {"level": HIGH_RISK if reasons else LOW_RISK, "reasons": reasons}
