"""Verify a claimed identity, and identify a voice.

A scoring worker compares the voices, outside of any transaction of ours. Then one transaction looks at the claimed
customer again, locked, decides, and writes the decision, its event in the trail and, where allowed, the recording.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from enrollment import heard as heard_recordings
from enrollment.models import Customer
from mltraining import worker_client
from mltraining.messages import Recording
from voiceauth.platform import stages
from voiceauth.platform.audit import Actor
from voiceauth.platform.errors import DomainError, ScoringUnavailable
from voiceauth.policies import selectors as policies
from voiceauth.policies.document import Policy, Tier
from voiceauth.screening.risk import REPLAY
from voiceauth.verification import attempts, call_audio, decisions, policy
from voiceauth.verification.messages import IDENTIFY, VERIFY, CallScore, IdentifyCall, OneVoice, VerifyCall
from voiceauth.verification.models import Decision
from voiceauth.verification.policy import Verdict

Kind = Decision.Kind
Result = Decision.Result
Intervals = Sequence[Sequence[float]]  # [start, end] in seconds of the upload


def verify(
    *,
    customer_id: str,
    audio: bytes,
    tier: str = "",
    caller: str = "",
    channel: str = "",
    format: str = "",
    redact: Intervals = (),
    actor: Actor,
    decision_id: UUID | None = None,
    at_least_seconds: float = 0.0,
) -> Decision:
    """Decide whether ``audio`` is the voice of ``customer_id``; ``policy`` says what decides, and in which order.

    The threshold is that for the false-accept rate of the transaction's ``tier``, or else of the policy. Refusals are
    counted for the ``caller``, a telephone number for example, as well. Where the recording's channels differ, only
    ``channel`` is scored and stored, or the policy's default for the client. What ``redact`` names is neither
    stored nor scored. A call that still goes on asks for ``at_least_seconds`` of net speech, and names the
    ``decision_id``, so that it can lead to one decision only.

    Raises ``MoreSpeechNeeded`` where there is less; ``UnknownTier``; ``InvalidAudio`` for a recording that cannot be
    used; ``NoActiveModel``, ``TierNotCalibrated`` and ``ScoringUnavailable``. Nothing is decided then.
    """
    with stages.timed("database"):
        rules = policies.in_force()
    claim = _Claim(
        customer_id=customer_id,
        recording=_recording(audio, channel, format, redact, rules, actor),
        tier=tier,
        terms=rules.tier(tier),
        caller=attempts.key_of(caller),
        rules=rules,
        actor=actor,
        decision_id=decision_id or uuid4(),
        at_least_seconds=at_least_seconds,
    )
    for _ in range(2):  # Retry once: the customer may have been locked or erased while we were scoring.
        with suppress(_ClaimChanged):
            return claim.decide()
    raise ScoringUnavailable(retry_after_seconds=1, customer_id=customer_id)


def identify(
    *,
    audio: bytes,
    candidates: Sequence[str] | None = None,
    max_results: int = 5,
    channel: str = "",
    format: str = "",
    redact: Intervals = (),
    actor: Actor,
) -> Decision:
    """Rank the enrolled customers, or the ``candidates`` among them, by how likely ``audio`` is their voice.

    No recording is kept, because there is no claimed customer who agreed to it. Raises as ``verify`` does.
    """
    rules = policies.in_force()
    score = worker_client.call(
        IDENTIFY,
        IdentifyCall(
            recording=_recording(audio, channel, format, redact, rules, actor),
            target_far=rules.verification.target_far,
            rules=one_voice(rules),
            candidates=None if candidates is None else tuple(candidates),
            max_results=max_results,
        ),
        deadline_seconds=settings.VOICEAUTH_SCORING_DEADLINE_SECONDS,
    )
    verdict = policy.decide_identification(
        rules.verification, score.quality, score.probability, score.threshold, part_llr=score.part_llr
    )
    matched = score.best.name if score.best and verdict.result == Result.MATCH else ""
    with transaction.atomic():
        decision = decisions.prepare(Kind.IDENTIFY, verdict, score, pk=uuid4(), customer_id=matched, actor=actor)
        decision.policy, decision.fallback, decision.redacted = rules.number, rules.verification.fallback, list(redact)
        decision.left_out = _left_out(candidates or (), score.model_fingerprint)
        decision.save(force_insert=True)
        decisions.finish(decision, score, actor)
    return decision


def _left_out(candidates: Sequence[str], model_fingerprint: str) -> list[str]:
    """Return those of the candidates whom the call could not be compared with: unknown, or not enrolled."""
    compared = Customer.objects.filter(
        customer_id__in=candidates, state=Customer.State.ENROLLED, voiceprints__model_fingerprint=model_fingerprint
    )
    return sorted(set(candidates) - set(compared.values_list("customer_id", flat=True)))


class _ClaimChanged(Exception):
    """While the call was scored, the claimed customer came into a state that must be hidden from the caller."""


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """A call to verify, and the rules that it is decided under."""

    customer_id: str
    recording: Recording
    tier: str
    terms: Tier | None
    caller: str  # keyed hash
    rules: Policy
    actor: Actor
    decision_id: UUID
    at_least_seconds: float

    def decide(self) -> Decision:
        """Score the call where the customer's state allows, or hides that it does not, and store the decision.

        Raises ``_ClaimChanged`` where the call has to be scored again, against a decoy.
        """
        with stages.timed("database"):
            customer = Customer.objects.filter(customer_id=self.customer_id).first()
            barred = self._barred(customer)
        if barred is not None and not barred.hidden:
            return self._store_unscored(customer, barred)
        return self._store_scored(customer, barred, self._score(customer if barred is None else None))

    def _barred(self, customer: Customer | None) -> Verdict | None:
        """Judge the customer's state, and what was refused before; ``None`` where the voice decides."""
        return attempts.judge(self.rules.verification, customer, self.caller, timezone.now())

    def _score(self, customer: Customer | None) -> CallScore:
        """Compare with the customer's voiceprint, or with a decoy where there is no customer to compare with."""
        try:
            return worker_client.call(
                VERIFY,
                VerifyCall(
                    recording=self.recording,
                    claimed=self.customer_id,
                    customer=customer.pk if customer else None,
                    target_far=self.rules.far_of(self.tier),
                    rules=one_voice(self.rules),
                    promised=self.terms is not None,
                    at_least_seconds=self.at_least_seconds,
                ),
                deadline_seconds=settings.VOICEAUTH_SCORING_DEADLINE_SECONDS,
            )
        except DomainError as error:
            error.data["customer_id"] = self.customer_id  # so that the trail tells whose call was refused
            raise

    @stages.timed("database")
    @transaction.atomic
    def _store_unscored(self, customer: Customer | None, before: Verdict) -> Decision:
        customer = _locked(customer)
        verdict = self._barred(customer) or before
        if verdict.hidden:
            raise _ClaimChanged
        decision = self._save(self._prepare(verdict, None))
        attempts.count(self.rules.verification, decision, customer)
        decisions.finish(decision, None, self.actor)
        return decision

    @stages.timed("database")
    @transaction.atomic
    def _store_scored(self, customer: Customer | None, before: Verdict | None, score: CallScore) -> Decision:
        """``before`` is the hidden verdict that made a decoy necessary; the customer's present state comes first."""
        customer = _locked(customer)
        barred = self._barred(customer) or before
        if barred is not None and barred.hidden and before is None:
            raise _ClaimChanged
        replayed = any(hit.reason == REPLAY for hit in score.screening.hits)
        heard = policy.decide_verification(
            self.rules.verification,
            score.quality,
            score.probability,
            score.threshold,
            replayed=replayed,
            part_llr=score.part_llr,
        )
        decision = self._prepare(barred or heard, score)
        if barred is not None and barred.hidden:
            decision.told = decisions.told_instead(heard, score)
        self._save(decision)
        if customer is not None:
            audio = self.recording.audio if score.remainder is None else score.remainder
            call_audio.keep(decision, customer, audio)
            if decision.decision == Result.ACCEPT:
                heard_recordings.remember(
                    customer, decision_id=decision.pk, acoustic_fingerprint=score.acoustic_fingerprint
                )
        attempts.count(self.rules.verification, decision, customer)
        decisions.finish(decision, score, self.actor)
        return decision

    def _save(self, decision: Decision) -> Decision:
        decision.tier, decision.policy, decision.caller = self.tier, self.rules.number, self.caller
        decision.further_factor_required = self.terms.further_factor_required if self.terms else True
        decision.fallback = self.rules.verification.fallback
        decision.redacted = [list(each) for each in self.recording.redact]
        decision.save(force_insert=True)
        return decision

    def _prepare(self, verdict: Verdict, score: CallScore | None) -> Decision:
        customer_id, actor = self.customer_id, self.actor
        return decisions.prepare(Kind.VERIFY, verdict, score, pk=self.decision_id, customer_id=customer_id, actor=actor)


def _locked(customer: Customer | None) -> Customer | None:
    """Read the customer again, locked until the transaction ends."""
    return Customer.objects.select_for_update().filter(pk=customer.pk).first() if customer else None


def one_voice(rules: Policy) -> OneVoice:
    """Return what the policy asks of a call so that one voice speaks in it."""
    limits = rules.verification
    return OneVoice(min_llr=limits.min_one_voice_llr, min_speech_seconds=limits.min_speech_seconds)


def _recording(audio: bytes, channel: str, format: str, redact: Intervals, rules: Policy, actor: Actor) -> Recording:
    return Recording(
        audio=audio,
        redact=tuple((start, end) for start, end in redact),
        channel=channel,
        format=format,
        default_channel=rules.channel_of(actor.name),
    )
