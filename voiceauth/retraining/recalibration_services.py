"""Another calibration for a model: fitted by a worker, looked at, approved, put into force.

A calibration changes what every call is worth, so a second person must approve it before it is in force.
"""

from uuid import UUID

from django.db import transaction

from mltraining import calibrations
from mltraining.calibrations import MeasuredOn
from mltraining.models import Calibration, ModelVersion
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.approvals.services import request as request_approval
from voiceauth.platform.audit import Actor
from voiceauth.platform.jobs import services as jobs
from voiceauth.retraining import evidence, selectors
from voiceauth.retraining.errors import NotEnoughEvidence, NotFitted
from voiceauth.retraining.models import Recalibration

FORCE_CALIBRATION = "model.recalibrate"


def request_recalibration(*, version: str, source: str, actor: Actor) -> Recalibration:
    """Queue the fit of a calibration for a model on the trials of ``source``. Raises ``ModelNotFound``."""
    return jobs.enqueue(Recalibration(model=selectors.model(version), source=source), actor=actor)


def request_force(*, recalibration_id: UUID, reason: str, actor: Actor) -> Approval:
    """Ask a second person to put the fitted calibration into force. Raises ``NotFitted``."""
    fitted = _fitted(recalibration_id)
    parameters = {
        "version": fitted.model_id,
        "recalibration": str(fitted.pk),
        "calibration_version": fitted.parameters["version"],
        "source": fitted.measured_on["source"],
    }
    return request_approval(action=FORCE_CALIBRATION, parameters=parameters, reason=reason, actor=actor)


def put_into_force(
    *, version: str, parameters: dict[str, object], measured_on: MeasuredOn, actor: Actor
) -> Calibration:
    """Read the model's scores by ``parameters`` from the next call on.

    Raises ``NotEnoughEvidence`` where the model is in service with enough evidence and would have too little of it.
    """
    with transaction.atomic():
        row = ModelVersion.objects.select_for_update().get(pk=version)
        before = evidence.of(row)
        calibration = calibrations.put_into_force(
            version=version, parameters=parameters, measured_on=measured_on, actor=actor
        )
        after = evidence.of(row)
        if row.state == ModelVersion.State.ACTIVE and before.is_sufficient and not after.is_sufficient:
            raise NotEnoughEvidence(
                "The model is in service, and this calibration would take away its evidence: "
                + "; ".join(map(str, after.missing)),
                evidence=after.summary(),
            )
    return calibration


def register_actions() -> None:
    """Put a new calibration under two-person control."""
    approvals.register(
        approvals.Action(
            name=FORCE_CALIBRATION,
            label="Read a model's scores by another calibration",
            approvers=roles_with("models:promote"),
            execute=_force,
        )
    )


def _force(approval: Approval, actor: Actor) -> None:
    fitted = _fitted(UUID(approval.parameters["recalibration"]))
    measured_on = MeasuredOn(**fitted.measured_on)
    put_into_force(version=fitted.model_id, parameters=fitted.parameters, measured_on=measured_on, actor=actor)


def _fitted(recalibration_id: UUID) -> Recalibration:
    fitted = Recalibration.objects.filter(pk=recalibration_id, state=Recalibration.State.SUCCEEDED).first()
    if fitted is None:
        raise NotFitted
    return fitted
