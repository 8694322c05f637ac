"""Calls whose caller another factor has confirmed: they may join the claimed customer's voiceprint.

A client confirms a decision after the call, with the method. Whether the call then joins the voiceprint is ``outcome``;
why it does not is in the trail only, so that the answer tells nobody who is a customer, or who is locked.
"""

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from enrollment import enrichment
from enrollment.errors import AlreadyConfirmed
from enrollment.models import ConfirmedCall
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.platform.errors import DomainError
from voiceauth.policies import selectors as policies
from voiceauth.verification import selectors
from voiceauth.verification.errors import MethodNotAccepted, NoAudio, NotConfirmable
from voiceauth.verification.models import CallAudio, Decision

ADDED = "ADDED"
HELD = "HELD"  # for a reviewer, who listens to it
NOT_ADDED = "NOT_ADDED"
REVOKED = "REVOKED"
Result = Decision.Result


@dataclass(frozen=True)
class Confirmation:
    """What became of a confirmed call."""

    decision_id: UUID
    method: str
    outcome: str


def confirm(*, decision_id: UUID, method: str, actor: Actor) -> Confirmation:
    """State that ``method`` has confirmed the caller of a decision, and add the call to the customer's voiceprint.

    The call joins it where its audio was kept, the customer still consents, and it passes the enrollment gate; one
    whose voice is not sure enough waits for a reviewer. Raises ``DecisionNotFound``; ``MethodNotAccepted`` by the
    policy; ``NotConfirmable``; ``AlreadyConfirmed``; ``ModelSwitched`` and ``ScoringUnavailable``.
    """
    decision = selectors.decision(decision_id)
    accepted = policies.in_force().enrichment.methods
    if method not in accepted:
        raise MethodNotAccepted(method=method, accepted=list(accepted))
    _require_confirmable(decision)
    if ConfirmedCall.objects.filter(pk=decision_id).exists():
        raise AlreadyConfirmed
    if decision.told is not None:
        return _not_added(decision, method, decision.decision, actor)
    try:
        sample = enrichment.add_call(
            customer_id=decision.customer_id,
            decision_id=decision_id,
            audio=_kept_audio(decision),
            method=method,
            actor=actor,
        )
    except AlreadyConfirmed:
        raise
    except DomainError as refusal:
        if refusal.status >= 500:
            raise
        return _not_added(decision, method, refusal.code, actor)
    return Confirmation(decision_id, method, HELD if sample.held_for else ADDED)


def revoke(*, decision_id: UUID, actor: Actor) -> Confirmation:
    """Remove a confirmed call from the voiceprint, for good. Raises ``ConfirmationNotFound``."""
    customer = enrichment.revoke_call(decision_id=decision_id, actor=actor)
    method = customer.confirmed_calls.get(pk=decision_id).method
    return Confirmation(decision_id, method, REVOKED)


def outcome_of(decision_id: UUID, method: str) -> Confirmation:
    """Return what an earlier ``confirm`` of the decision answered."""
    call = ConfirmedCall.objects.filter(pk=decision_id).select_related("sample").first()
    if call is None:
        return Confirmation(decision_id, method, NOT_ADDED)
    return Confirmation(decision_id, call.method, HELD if call.sample and call.sample.held_for else ADDED)


def _require_confirmable(decision: Decision) -> None:
    """Judge by what the caller was told: the answer reveals nothing else. Raises ``NotConfirmable``."""
    told = (decision.told or {}).get("decision", decision.decision)
    flagged = [reason["code"] for reason in decision.fraud_risk.get("reasons", ())]
    if told not in (Result.ACCEPT, Result.REJECT) or flagged:
        raise NotConfirmable(decision=told, reasons=flagged)


def _kept_audio(decision: Decision) -> bytes:
    kept = CallAudio.objects.select_related("customer").filter(decision=decision).first()
    if kept is None:
        raise NoAudio
    return selectors.call_audio(kept)


@transaction.atomic
def _not_added(decision: Decision, method: str, reason: str, actor: Actor) -> Confirmation:
    record(
        action="decision.confirmed",
        actor=actor,
        customer_id=decision.customer_id,
        target=f"decision:{decision.pk}",
        data={"outcome": NOT_ADDED, "method": method, "reason": reason},
    )
    return Confirmation(decision.pk, method, NOT_ADDED)
