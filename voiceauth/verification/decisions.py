"""The row of a decision, and what is written with it: review cases, and the event in the trail."""

import logging
from typing import Any
from uuid import UUID

from django.db import transaction

from voiceauth.platform import metrics, tracing
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.screening import services as screening
from voiceauth.screening.risk import fraud_risk
from voiceauth.verification.messages import CallScore
from voiceauth.verification.models import Decision
from voiceauth.verification.policy import Verdict

logger = logging.getLogger(__name__)


def prepare(
    kind: Decision.Kind, verdict: Verdict, score: CallScore | None, *, pk: UUID, customer_id: str, actor: Actor
) -> Decision:
    """Make the row of a decision, which the caller completes and saves.

    Scores are kept, and told, only where the decision rests on them.
    """
    decision = Decision(
        id=pk,
        kind=kind,
        customer_id=customer_id,
        decision=verdict.result,
        reasons=list(verdict.reasons),
        actor=actor.name,
        request_id=actor.request_id,
    )
    if score is not None:
        decision.channel, decision.truncated = score.quality.channel, score.quality.truncated
        decision.speech_seconds = score.quality.speech_seconds
        decision.enrollment_speech_seconds = score.enrollment_speech_seconds
        decision.snr_db = score.quality.snr_db
        decision.voice_changes_at = score.changes_at
        decision.clipping_ratio = score.quality.clipping_ratio
        decision.model_version = score.model_version
        decision.model_fingerprint = score.model_fingerprint
        decision.calibration_version = score.calibration_version
        decision.scoring_milliseconds = score.milliseconds
        decision.fraud_risk = fraud_risk(score.screening.hits)
    if score is not None and verdict.is_scored:
        decision.threshold = score.threshold
        if kind == Decision.Kind.IDENTIFY:
            decision.candidates = _candidates(score)
        if score.best:
            decision.probability = score.best.probability
            decision.log_likelihood_ratio = score.best.log_likelihood_ratio
            decision.score = score.best.score
    return decision


def told_instead(heard: Verdict, score: CallScore) -> dict[str, Any]:
    """Return what the caller is told in place of a hidden decision: the refusal that the decoy gave."""
    best = score.best if heard.is_scored else None
    return {
        "decision": heard.result,
        "reasons": list(heard.reasons),
        "probability": best.probability if best else None,
        "threshold": score.threshold if best else None,
        "log_likelihood_ratio": best.log_likelihood_ratio if best else None,
    }


def finish(decision: Decision, score: CallScore | None, actor: Actor) -> None:
    """Open review cases for what is suspicious, then record the decision.

    It comes last in the transaction, because both write to the trail.
    """
    if score is not None:
        screening.act_on(
            score.screening,
            customer_id=decision.customer_id if decision.kind == Decision.Kind.VERIFY else "",
            evidence={"decision_id": str(decision.pk)},
            actor=actor,
        )
    transaction.on_commit(lambda: _tell(decision))
    record(
        action="decision.made",
        actor=actor,
        customer_id=decision.customer_id,
        target=f"decision:{decision.pk}",
        model_version=decision.model_version,
        threshold=decision.threshold,
        after={
            "decision": decision.decision,
            "reasons": decision.reasons,
            "probability": decision.probability,
            "log_likelihood_ratio": decision.log_likelihood_ratio,
        },
        data={
            "tier": decision.tier,
            "fraud_risk": decision.fraud_risk,
            "policy": decision.policy,
            "kind": decision.kind,
            "model_fingerprint": decision.model_fingerprint,
            "calibration_version": decision.calibration_version,
            "speech_seconds": decision.speech_seconds,
        },
    )


def _tell(decision: Decision) -> None:
    """Count a decision, and leave its id in the log, with that of the request."""
    metrics.DECISIONS.labels(decision.kind, decision.decision).inc()
    for reason in decision.reasons:
        metrics.DECISION_REASONS.labels(decision.kind, reason).inc()
    logger.info("decision %s is made", decision.pk, extra={"decision_id": str(decision.pk)})
    tracing.note(decision_id=str(decision.pk))


def _candidates(score: CallScore) -> list[dict[str, Any]]:
    return [
        {
            "customer_id": each.name,
            "score": each.score,
            "log_likelihood_ratio": each.log_likelihood_ratio,
            "probability": each.probability,
            "over_threshold": each.probability >= score.threshold,
        }
        for each in score.matches
    ]
