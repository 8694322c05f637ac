"""Reads of approvals."""

from uuid import UUID

from django.db.models import Q, QuerySet

from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry
from voiceauth.platform.approvals.errors import ApprovalNotFound
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor


def approvals(actor: Actor) -> QuerySet[Approval]:
    """Select the requests that the actor made or may decide on, the latest first.

    Somebody who reads approvals and decides on none (an auditor) sees all.
    """
    if actor.role in roles_with("approvals:read") - roles_with("approvals:decide"):
        return Approval.objects.all()
    return Approval.objects.filter(Q(action__in=registry.names_for(actor.role)) | Q(requested_by=actor.name))


def approval(approval_id: UUID, actor: Actor) -> Approval:
    """Return one request. Raises ``ApprovalNotFound``, also for a request that the actor may not see."""
    found = approvals(actor).filter(pk=approval_id).first()
    if found is None:
        raise ApprovalNotFound()
    return found
