"""A copy of a customer's recordings, which a second person must approve."""

from uuid import UUID

from django.db import transaction

from enrollment import selectors
from enrollment.models import AudioSample
from enrollment.services import locked
from voiceauth.platform import archives
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry, services
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.services import record

EXPORT_AUDIO = "customer.export_audio"


def register_actions() -> None:
    """Put the export of recordings under two-person control."""
    registry.register(
        registry.Action(name=EXPORT_AUDIO, label="Export a customer's recordings", approvers=roles_with("audio:export"))
    )


def request_audio_export(*, customer_id: str, reason: str, actor: Actor) -> Approval:
    """Request a copy of the customer's recordings. Raises ``CustomerNotFound``."""
    customer = selectors.customer(customer_id)
    parameters = {"customer_id": customer.customer_id}
    return services.request(action=EXPORT_AUDIO, parameters=parameters, reason=reason, actor=actor)


@transaction.atomic
def export_audio(*, customer_id: str, approval_id: UUID, actor: Actor) -> bytes:
    """Return the approved copy, once: a ZIP file of the stored recordings and a ``manifest.json``.

    It is made in memory and not stored. Raises ``CustomerNotFound``, ``ApprovalNotFound`` and ``ApprovalNotOpen``.
    """
    customer = locked(customer_id)
    services.redeem(
        approval_id=approval_id, action=EXPORT_AUDIO, parameters={"customer_id": customer.customer_id}, actor=actor
    )
    samples = list(customer.samples.order_by("created_at", "id").select_related("audio"))
    archive = archives.made(
        ((_name(sample), selectors.sample_audio(sample)) for sample in samples),
        {"customer_id": customer.customer_id, "samples": [_described(sample) for sample in samples]},
    )
    record(
        action="customer.audio_exported",
        actor=actor,
        customer_id=customer.customer_id,
        target=f"approval:{approval_id}",
        data={"samples": len(samples), "bytes": len(archive)},
    )
    return archive


def _name(sample: AudioSample) -> str:
    return f"{sample.pk}.{'wav' if sample.redacted or sample.channel else sample.container}"


def _described(sample: AudioSample) -> dict[str, object]:
    return {
        "file": _name(sample),
        "enrolled_at": sample.created_at.isoformat(),
        "enrolled_by": sample.created_by,
        "duration_seconds": sample.duration_seconds,
        "speech_seconds": sample.speech_seconds,
    }
