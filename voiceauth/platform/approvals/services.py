"""Services of two-person control: the state machine of ``Approval``, each step with its audit event."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from voiceauth.platform.api.models import ApiClient
from voiceauth.platform.approvals import registry
from voiceauth.platform.approvals.errors import ApprovalNotFound, ApprovalNotOpen, NotAnApprover, SecondPersonRequired
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.audit.services import record

State = Approval.State


@transaction.atomic
def request(*, action: str, parameters: Mapping[str, Any], reason: str, actor: Actor) -> Approval:
    """Make a request that a second person must approve, or return the actor's open one with the same content.

    Raises ``KeyError`` for an action that nobody registered.
    """
    registry.action_of(action)
    same = Approval.objects.filter(action=action, parameters=dict(parameters), requested_by=actor.name)
    if open_one := same.filter(state=State.REQUESTED, expires_at__gt=timezone.now()).first():
        return open_one
    approval = Approval.objects.create(
        action=action, parameters=dict(parameters), reason=reason, requested_by=actor.name, expires_at=_end()
    )
    _record("requested", approval, actor)
    return approval


@transaction.atomic
def approve(*, approval_id: UUID, actor: Actor) -> Approval:
    """REQUESTED → EXECUTED, and carry the action out; or → APPROVED where the requester carries it out.

    Raises ``ApprovalNotFound``, ``ApprovalNotOpen``, ``NotAnApprover``, ``SecondPersonRequired`` and what the action
    raises, which leaves the request open.
    """
    approval = _requested(approval_id, actor)
    require_second_person(approval.requested_by, actor)
    execute = registry.action_of(approval.action).execute
    approval.decided_by, approval.decided_at = actor.name, timezone.now()
    if execute is None:
        approval.state, approval.expires_at = State.APPROVED, _end()
    else:
        execute(approval, actor)
        approval.state = State.EXECUTED
    approval.save()
    _record(approval.state.lower(), approval, actor, before=State.REQUESTED)
    return approval


@transaction.atomic
def reject(*, approval_id: UUID, actor: Actor) -> Approval:
    """REQUESTED → REJECTED, also to withdraw one's own. Raises as ``approve``, except ``SecondPersonRequired``."""
    approval = _requested(approval_id, actor)
    approval.state, approval.decided_by, approval.decided_at = State.REJECTED, actor.name, timezone.now()
    approval.save()
    _record("rejected", approval, actor, before=State.REQUESTED)
    return approval


def redeem(*, approval_id: UUID, action: str, parameters: Mapping[str, Any], actor: Actor) -> Approval:
    """APPROVED → EXECUTED, once, for the requester, in the transaction that then carries the action out.

    Raises ``ApprovalNotFound``, also for what somebody else asked for, and ``ApprovalNotOpen``.
    """
    approval = _locked(approval_id)
    if (approval.action, approval.requested_by, approval.parameters) != (action, actor.name, dict(parameters)):
        raise ApprovalNotFound()
    if approval.state != State.APPROVED or approval.expires_at <= timezone.now():
        raise ApprovalNotOpen(state=approval.state)
    approval.state = State.EXECUTED
    approval.save()
    _record("executed", approval, actor, before=State.APPROVED)
    return approval


def redeem_same(*, action: str, parameters: Mapping[str, Any], actor: Actor) -> Approval | None:
    """APPROVED → EXECUTED for the actor's own request with these parameters; ``None`` where none is approved.

    For a caller who repeats the request that was approved. Otherwise as ``redeem``.
    """
    same = Approval.objects.filter(action=action, parameters=dict(parameters), requested_by=actor.name)
    approved = same.filter(state=State.APPROVED, expires_at__gt=timezone.now()).first()
    if approved is None:
        return None
    return redeem(approval_id=approved.pk, action=action, parameters=parameters, actor=actor)


def expire() -> int:
    """REQUESTED, APPROVED → EXPIRED for those past their time, in one transaction each. Return how many."""
    overdue = Approval.objects.filter(state__in=Approval.OPEN, expires_at__lte=timezone.now())
    expired = 0
    for approval_id in list(overdue.values_list("pk", flat=True)):
        with transaction.atomic():
            approval = overdue.select_for_update().filter(pk=approval_id).first()
            if approval is not None:
                before, approval.state = approval.state, State.EXPIRED
                approval.save()
                _record("expired", approval, SYSTEM, before=before)
                expired += 1
    return expired


def _requested(approval_id: UUID, actor: Actor) -> Approval:
    """Lock the request, so that the second of two concurrent decisions finds it decided."""
    approval = _locked(approval_id)
    if actor.role not in registry.action_of(approval.action).approvers:
        raise NotAnApprover()
    if approval.state != State.REQUESTED or approval.expires_at <= timezone.now():
        raise ApprovalNotOpen(state=approval.state)
    return approval


def _locked(approval_id: UUID) -> Approval:
    approval = Approval.objects.select_for_update().filter(pk=approval_id).first()
    if approval is None:
        raise ApprovalNotFound()
    return approval


def require_second_person(first: str, second: Actor) -> None:
    """Raise ``SecondPersonRequired`` where ``first`` may be the name of the same person as ``second``."""
    if _people_behind(first) & _people_behind(second.name):
        raise SecondPersonRequired()


def _people_behind(name: str) -> set[str]:
    """Return the name and, for an API client, the people who were shown its token."""
    issuers = ApiClient.objects.filter(name=name).exclude(issued_by__in=["", SYSTEM.name])
    return {name, *issuers.values_list("issued_by", flat=True)}


def _end() -> datetime:
    return timezone.now() + timedelta(hours=settings.VOICEAUTH_APPROVAL_HOURS)


def _record(event: str, approval: Approval, actor: Actor, before: str | None = None) -> None:
    record(
        action=f"approval.{event}",
        actor=actor,
        target=f"approval:{approval.pk}",
        customer_id=str(approval.parameters.get("customer_id", "")),
        before=None if before is None else {"state": before},
        after={"state": approval.state},
        data={
            "action": approval.action,
            "parameters": approval.parameters,
            "reason": approval.reason,
            "requested_by": approval.requested_by,
        },
    )
