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

from enrollment import keys, replay
from enrollment.models import Customer
from enrollment.selectors import has_consent
from mltraining import scoring_client
from voiceauth.platform.api.idempotency import purge_answers
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError, ScoringUnavailable
from voiceauth.policies import selectors as policies
from voiceauth.screening import services as screening
from voiceauth.verification import attempts, policy
from voiceauth.verification.errors import TierNotCalibrated
from voiceauth.verification.models import CallAudio, Decision
from voiceauth.verification.policy import CallQuality, Verdict

Kind = Decision.Kind
Outcome = Decision.Outcome
Intervals = Sequence[Sequence[float]]  # [start, end] in seconds of the upload


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
    recording: bytes | None  # what is left of a redacted one
    screening: dict[str, Any]  # hits, and the voice to remember
    fingerprint: bytes  # what tells the recording again

    @property
    def best(self) -> dict[str, Any] | None:
        return self.scores[0] if self.scores else None

    @property
    def is_replay(self) -> bool:
        return any(hit["reason"] == replay.REPLAY for hit in self.screening["hits"])

    @property
    def probability(self) -> float | None:
        return self.best["probability"] if self.best else None


def verify(
    *,
    customer_id: str,
    audio: bytes,
    tier: str = "",
    caller: str = "",
    redact: Intervals = (),
    actor: Actor,
) -> Decision:
    """Decides whether ``audio`` is the voice of ``customer_id``, under ``policy``'s precedence.

    At the threshold of the transaction's ``tier``, or else the model's. ``caller``, a telephone number, say, has its
    own count of refusals; what ``redact`` names is neither stored nor scored. Raises ``UnknownTier``; ``InvalidAudio``
    for a recording that cannot be used; ``NoActiveModel``, ``TierNotCalibrated`` and ``ScoringUnavailable``; nothing is
    decided then.
    """
    rules = policies.in_force()
    terms = rules.tier(tier)
    caller_key = attempts.key_of(caller)
    for _ in range(2):  # the second time where the claim turned into a hidden one while the call was scored
        claimed = Customer.objects.filter(customer_id=customer_id).first()
        before_scoring = attempts.judge(rules.verification, claimed, caller_key, timezone.now())
        score = None
        if before_scoring is None or before_scoring.hidden:
            try:
                score = _score(
                    audio,
                    customer=claimed.pk if claimed and before_scoring is None else None,
                    decoy=None if before_scoring is None else attempts.key_of(customer_id),
                    redact=redact,
                    target_far=terms.target_far if terms else None,
                    claimed=customer_id,
                )
            except DomainError as error:
                error.data["customer_id"] = customer_id  # so that the trail tells whose call was refused
                raise
        with transaction.atomic():
            if claimed is not None:  # blocked or erased while the call was scored? The state of now counts.
                claimed = Customer.objects.select_for_update().filter(pk=claimed.pk).first()
            verdict = attempts.judge(rules.verification, claimed, caller_key, timezone.now()) or before_scoring
            if verdict is not None and verdict.hidden and (score is None or before_scoring is None):
                continue
            heard = None
            if score is not None:
                heard = policy.decide_verification(
                    rules.verification, score.quality, score.probability, score.threshold, replayed=score.is_replay
                )
            decision = _decision(Kind.VERIFY, verdict or heard, score, customer_id=customer_id, actor=actor)
            if verdict is not None and verdict.hidden:
                assert score is not None and heard is not None
                decision.told = _told(heard, score)
            decision.tier, decision.policy, decision.caller = tier, rules.number, caller_key
            decision.further_factor_required = terms.further_factor_required if terms else True
            decision.fallback, decision.redacted = rules.verification.fallback, list(redact)
            decision.save(force_insert=True)
            if claimed is not None and score is not None:
                _keep_audio(decision, claimed, score.recording or audio)
                if decision.decision == Outcome.ACCEPT:
                    replay.remember(claimed, kind="decision", pk=decision.pk, fingerprint=score.fingerprint)
            attempts.count(rules.verification, decision, claimed)
            _screen(decision, score, actor)
            _record(decision, actor)
        return decision
    raise ScoringUnavailable(retry_after_seconds=1, customer_id=customer_id)


def identify(
    *,
    audio: bytes,
    candidates: Sequence[str] | None = None,
    max_results: int = 5,
    redact: Intervals = (),
    actor: Actor,
) -> Decision:
    """Ranks the enrolled customers, or the ``candidates`` among them, by how likely ``audio`` is their voice.

    No recording is kept: there is no claimed customer who agreed to it. Raises as ``verify`` does.
    """
    rules = policies.in_force()
    score = _score(
        audio,
        candidates=None if candidates is None else list(candidates),
        max_results=max_results,
        redact=redact,
    )
    verdict = policy.decide_identification(rules.verification, score.quality, score.probability, score.threshold)
    matched = score.best["customer_id"] if score.best and verdict.outcome == Outcome.MATCH else ""
    with transaction.atomic():
        decision = _decision(Kind.IDENTIFY, verdict, score, customer_id=matched, actor=actor)
        decision.policy, decision.fallback, decision.redacted = rules.number, rules.verification.fallback, list(redact)
        decision.save(force_insert=True)
        _screen(decision, score, actor)
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


def forget_customer(customer: Customer) -> dict[str, int]:
    """Deletes the recordings of the customer's calls: part of their erasure. Decisions stay."""
    count, _ = CallAudio.objects.filter(customer=customer).delete()
    return {"call_recordings": count}


def _score(
    audio: bytes,
    *,
    customer: UUID | None = None,
    decoy: str | None = None,
    candidates: list[str] | None = None,
    max_results: int = 1,
    redact: Intervals = (),
    target_far: float | None = None,
    claimed: str | None = None,
) -> CallScore:
    answer = scoring_client.call(
        "verification.score_call",
        {
            "audio": base64.b64encode(audio).decode(),
            "customer": str(customer) if customer else None,
            "decoy": decoy,
            "candidates": candidates,
            "max_results": max_results,
            "redact": [list(each) for each in redact],
            "target_far": target_far,
            "claimed": claimed,
        },
        deadline_seconds=settings.VOICEAUTH_SCORING_DEADLINE_SECONDS,
    )
    if answer["threshold"] is None:
        raise TierNotCalibrated(target_far=target_far)
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
        recording=base64.b64decode(answer["recording"]) if answer["recording"] is not None else None,
        screening=answer["screening"],
        fingerprint=base64.b64decode(answer["fingerprint"] or ""),
    )


def _decision(
    kind: Decision.Kind, verdict: Verdict | None, score: CallScore | None, *, customer_id: str, actor: Actor
) -> Decision:
    """The decision's row, not saved yet. Scores are kept, and told, only where the decision rests on them."""
    assert verdict is not None
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
    return decision


def _told(heard: Verdict, score: CallScore) -> dict[str, Any]:
    """What the caller is answered instead of a hidden decision: the refusal that the decoy gave."""
    scored = heard.is_scored and score.best is not None
    return {
        "decision": heard.outcome,
        "reasons": list(heard.reasons),
        "probability": score.probability if scored else None,
        "threshold": score.threshold if scored else None,
        "log_likelihood_ratio": score.best["log_likelihood_ratio"] if scored and score.best else None,
    }


def _keep_audio(decision: Decision, claimed: Customer, audio: bytes) -> None:
    days = settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS
    if days and has_consent(claimed):
        CallAudio.objects.create(
            decision=decision,
            customer=claimed,
            content=keys.seal_call(claimed, decision.pk, audio),
            expires_at=decision.created_at + timedelta(days=days),
        )


def _screen(decision: Decision, score: CallScore | None, actor: Actor) -> None:
    """Opens review cases for what is suspicious; after everything else, right before the decision's own event."""
    if score is not None:
        decision.fraud_risk = screening.act_on(
            score.screening["hits"],
            voice=score.screening["voice"],
            customer_id=decision.customer_id if decision.kind == Kind.VERIFY else "",
            evidence={"decision_id": str(decision.pk)},
            actor=actor,
        )
        decision.save(update_fields=["fraud_risk"])


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
            "tier": decision.tier,
            "fraud_risk": decision.fraud_risk,
            "policy": decision.policy,
            "kind": decision.kind,
            "model_fingerprint": decision.model_fingerprint,
            "calibration_version": decision.calibration_version,
            "speech_seconds": decision.speech_seconds,
        },
    )
