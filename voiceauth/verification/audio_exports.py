"""A copy of one call's recording, which a second person must approve."""

from hashlib import sha256
from uuid import UUID

from django.db import transaction

from voiceauth.platform import archives, audio_types
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry, services
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record
from voiceauth.verification import selectors
from voiceauth.verification.errors import NoAudio
from voiceauth.verification.models import CallAudio

EXPORT_CALL = "decision.export_audio"


def register_actions() -> None:
    """Put the export of a call's recording under two-person control."""
    registry.register(
        registry.Action(name=EXPORT_CALL, label="Export the recording of a call", approvers=roles_with("audio:export"))
    )


def request_call_export(*, decision_id: UUID, reason: str, actor: Actor) -> Approval:
    """Request a copy of the recording that a decision rested on. Raises ``DecisionNotFound`` and ``NoAudio``."""
    kept = _kept(decision_id)
    parameters = {"decision_id": str(decision_id), "customer_id": kept.decision.customer_id}
    return services.request(action=EXPORT_CALL, parameters=parameters, reason=reason, actor=actor)


@transaction.atomic
def export_call(*, decision_id: UUID, approval_id: UUID, actor: Actor) -> bytes:
    """Return the approved copy, once: a ZIP file of the recording, as it is kept, and a ``manifest.json``.

    It is made in memory and not stored. Raises ``DecisionNotFound``, ``NoAudio`` where the recording was deleted since,
    ``ApprovalNotFound`` and ``ApprovalNotOpen``.
    """
    kept = _kept(decision_id)
    decision = kept.decision
    parameters = {"decision_id": str(decision_id), "customer_id": decision.customer_id}
    services.redeem(approval_id=approval_id, action=EXPORT_CALL, parameters=parameters, actor=actor)
    audio = selectors.call_audio(kept)
    _, suffix = audio_types.recognise(audio) or ("", "audio")
    name = f"{decision_id}.{suffix}"
    described = parameters | {
        "file": name,
        "sha256": sha256(audio).hexdigest(),
        "decided_at": decision.created_at.isoformat(),
        "decision": decision.decision,
        "approval_id": str(approval_id),
    }
    archive = archives.made([(name, audio)], described)
    record(
        action="decision.audio_exported",
        actor=actor,
        customer_id=decision.customer_id,
        target=f"decision:{decision_id}",
        model_version=decision.model_version,
        data={"approval": str(approval_id), "bytes": len(archive)},
    )
    return archive


def _kept(decision_id: UUID) -> CallAudio:
    selectors.decision(decision_id)
    kept = CallAudio.objects.select_related("decision", "customer").filter(decision_id=decision_id).first()
    if kept is None:
        raise NoAudio
    return kept
