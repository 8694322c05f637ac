"""Refusals in a row, of a customer and of a caller: a growing delay, and in the end a lock (NIST SP 800-63B-4).

The customer's count is a column of the customer, whose row is locked while a decision is made. The caller's row is
locked after it, and the trail comes last.
"""

import hashlib
import hmac
from datetime import datetime

from django.db.models import F

from enrollment import lifecycle
from enrollment.models import Customer
from voiceauth.platform import vault
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.services import record
from voiceauth.policies.document import VerificationLimits
from voiceauth.verification import policy
from voiceauth.verification.models import Caller, Decision
from voiceauth.verification.policy import Verdict

Result = Decision.Result
State = Customer.State


def key_of(caller: str) -> str:
    """Return the keyed hash of a caller, a telephone number for example, so that the database alone reveals none."""
    if not caller:
        return ""
    return hmac.new(vault.derived_key("callers"), caller.strip().encode(), hashlib.sha256).hexdigest()


def judge(limits: VerificationLimits, customer: Customer | None, caller: str, now: datetime) -> Verdict | None:
    """Judge the claimed customer's state, then what was refused before; ``None`` where the voice decides."""
    if customer is None:
        return policy.UNKNOWN_SPEAKER
    if verdict := policy.judge_speaker(customer.state):
        return verdict
    if verdict := policy.judge_attempts(limits, customer.refusals, customer.refused_at, now):
        return verdict
    known = Caller.objects.filter(pk=caller).first() if caller else None
    return policy.judge_attempts(limits, known.refusals, known.refused_at, now) if known else None


def count(limits: VerificationLimits, decision: Decision, customer: Customer | None) -> None:
    """Count a refusal, and start over after an acceptance; other decisions change nothing.

    ``customer`` must be locked. The refusal of an unknown customer counts for the caller, who is not told.
    """
    result, now = decision.decision, decision.created_at
    if result == Result.ACCEPT and customer is not None:
        Customer.objects.filter(pk=customer.pk).update(refusals=0, refused_at=None, last_accessed_at=now)
        if decision.caller:
            Caller.objects.filter(pk=decision.caller).delete()
    if result in (Result.REJECT, Result.SPEAKER_NOT_ENROLLED) and decision.caller:
        Caller.objects.get_or_create(pk=decision.caller)
        Caller.objects.filter(pk=decision.caller).update(refusals=F("refusals") + 1, refused_at=now)
    if result == Result.REJECT and customer is not None:
        refusals = customer.refusals + 1
        locks = refusals >= limits.lock_after
        lifecycle.move(customer, State.LOCKED if locks else customer.state, refusals=refusals, refused_at=now)
        if locks:
            record(
                action="customer.locked",
                actor=SYSTEM,
                customer_id=customer.customer_id,
                before={"state": State.ENROLLED},
                after={"state": customer.state},
                data={"refusals": refusals},
            )
