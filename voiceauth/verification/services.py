"""Services: verify a claimed identity, identify a voice, purge what has expired.

Scoring happens in a worker, outside of any transaction of ours. Then one transaction looks at the claimed
customer again, locked, decides, and writes the decision, its audit event and, where allowed, the recording.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from enrollment import keys
from enrollment.models import Customer
from enrollment.selectors import has_consent
from mltraining import scoring_client
from voiceauth.api.idempotency import purge_answers
from voiceauth.audit import SYSTEM, Actor
from voiceauth.audit.services import record
from voiceauth.errors import DomainError
from voiceauth.verification import policy
from voiceauth.verification.models import CallAudio, Decision
from voiceauth.verification.policy import CallQuality, Policy, Verdict

Kind = Decision.Kind
Outcome = Decision.Outcome


@dataclass(frozen=True, kw_only=True)
class CallScore:
    """What the scoring worker found out about one call."""

    quality: CallQuality
    model_version: str
    model_fingerprint: str
    calibration_version: str
    threshold: float
    enrollment_speech_seconds: float | None  # the claimed voiceprint's
    scores: list[dict[str, Any]]  # the best first: customer_id, score, log_likelihood_ratio, probability
    milliseconds: float

    @property
    def best(self) -> dict[str, Any] | None:
        return self.scores[0] if self.scores else None

    @property
    def probability(self) -> float | None:
        return self.best["probability"] if self.best else None


def verify(*, customer_id: str, audio: bytes, actor: Actor) -> Decision:
    """Decides whether ``audio`` is the voice of ``customer_id``, under ``policy``'s precedence.

    An unknown customer is answered like one who is not enrolled. Raises ``InvalidAudio`` for a recording that
    cannot be used, ``NoActiveModel`` and ``ScoringUnavailable``; nothing is decided then.
    """
    claimed = Customer.objects.filter(customer_id=customer_id).first()
    before_scoring = policy.judge_speaker(claimed.state if claimed else None)
    score = None
    if claimed is not None and before_scoring is None:
        try:
            score = _score(audio, customer=claimed.pk)
        except DomainError as error:
            error.data["customer_id"] = customer_id  # so that the trail tells whose call was refused
            raise
    with transaction.atomic():
        if claimed is not None:  # blocked or erased while the call was scored? The state of now counts.
            claimed = Customer.objects.select_for_update().filter(pk=claimed.pk).first()
        verdict = policy.judge_speaker(claimed.state if claimed else None) or before_scoring
        if verdict is None:
            assert score is not None
            verdict = policy.decide_verification(Policy.configured(), score.quality, score.probability, score.threshold)
        decision = _decide(Kind.VERIFY, verdict, score, customer_id=customer_id, actor=actor)
        if claimed is not None and score is not None:
            _keep_audio(decision, claimed, audio)
            if verdict.outcome == Outcome.ACCEPT:
                Customer.objects.filter(pk=claimed.pk).update(last_accessed_at=decision.created_at)
        _record(decision, actor)
    return decision


def identify(*, audio: bytes, candidates: Sequence[str] | None = None, max_results: int = 5, actor: Actor) -> Decision:
    """Ranks the enrolled customers, or the ``candidates`` among them, by how likely ``audio`` is their voice.

    No recording is kept: there is no claimed customer who agreed to it. Raises as ``verify`` does.
    """
    score = _score(audio, candidates=None if candidates is None else list(candidates), max_results=max_results)
    verdict = policy.decide_identification(Policy.configured(), score.quality, score.probability, score.threshold)
    matched = score.best["customer_id"] if score.best and verdict.outcome == Outcome.MATCH else ""
    with transaction.atomic():
        decision = _decide(Kind.IDENTIFY, verdict, score, customer_id=matched, actor=actor)
        _record(decision, actor)
    return decision


@transaction.atomic
def purge_expired() -> int:
    """Deletes call recordings past their time, and answers kept for repeated requests; how many recordings."""
    count, _ = CallAudio.objects.filter(expires_at__lte=timezone.now()).delete()
    purge_answers()
    if count:
        record(action="call_audio.purged", actor=SYSTEM, data={"count": count})
    return count


def _score(
    audio: bytes, *, customer: UUID | None = None, candidates: list[str] | None = None, max_results: int = 1
) -> CallScore:
    answer = scoring_client.call(
        "verification.score_call",
        {
            "audio": base64.b64encode(audio).decode(),
            "customer": str(customer) if customer else None,
            "candidates": candidates,
            "max_results": max_results,
        },
        deadline_seconds=settings.VOICEAUTH_SCORING_DEADLINE_SECONDS,
    )
    quality = answer["quality"]
    return CallScore(
        quality=CallQuality(
            speech_seconds=quality["speech_seconds"],
            snr_db=quality["snr_db"],
            clipping_ratio=quality["clipping_ratio"],
        ),
        model_version=answer["model"]["version"],
        model_fingerprint=answer["model"]["fingerprint"],
        calibration_version=answer["calibration_version"],
        threshold=answer["threshold"],
        enrollment_speech_seconds=answer["enrollment_speech_seconds"],
        scores=answer["scores"],
        milliseconds=answer["milliseconds"],
    )


def _decide(
    kind: Decision.Kind, verdict: Verdict, score: CallScore | None, *, customer_id: str, actor: Actor
) -> Decision:
    """The decision's row. Scores are kept, and told, only where the decision rests on them."""
    decision = Decision(
        id=uuid4(),
        kind=kind,
        customer_id=customer_id,
        decision=verdict.outcome,
        reasons=list(verdict.reasons),
        actor=actor.name,
        request_id=actor.request_id,
    )
    if score is not None:
        decision.speech_seconds = score.quality.speech_seconds
        decision.enrollment_speech_seconds = score.enrollment_speech_seconds
        decision.snr_db = score.quality.snr_db
        decision.clipping_ratio = score.quality.clipping_ratio
        decision.model_version = score.model_version
        decision.model_fingerprint = score.model_fingerprint
        decision.calibration_version = score.calibration_version
        decision.scoring_milliseconds = score.milliseconds
    if score is not None and verdict.is_scored:
        decision.threshold = score.threshold
        if kind == Kind.IDENTIFY:
            decision.candidates = [
                {**each, "over_threshold": each["probability"] >= score.threshold} for each in score.scores
            ]
        if score.best:
            decision.probability = score.best["probability"]
            decision.log_likelihood_ratio = score.best["log_likelihood_ratio"]
            decision.score = score.best["score"]
    decision.save(force_insert=True)
    return decision


def _keep_audio(decision: Decision, claimed: Customer, audio: bytes) -> None:
    days = settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS
    if days and has_consent(claimed):
        CallAudio.objects.create(
            decision=decision,
            customer=claimed,
            content=keys.seal_call(claimed, decision.pk, audio),
            expires_at=decision.created_at + timedelta(days=days),
        )


def _record(decision: Decision, actor: Actor) -> None:
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
            "kind": decision.kind,
            "model_fingerprint": decision.model_fingerprint,
            "calibration_version": decision.calibration_version,
            "speech_seconds": decision.speech_seconds,
        },
    )
