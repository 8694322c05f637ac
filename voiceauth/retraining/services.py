"""Asking for a retrain or a promotion, and cancelling a run. Workers carry them out: ``training``, ``promotion``."""

import uuid
from typing import Any

from django.db import IntegrityError, transaction

from enrollment.models import Customer
from mltraining.errors import ModelNotFound
from mltraining.models import ModelVersion
from voiceauth.platform.api.roles import roles_with
from voiceauth.platform.approvals import registry as approvals
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.approvals.services import request as request_approval
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.jobs import services as jobs
from voiceauth.retraining import evidence, selectors, training_settings
from voiceauth.retraining.errors import PromotionInProgress
from voiceauth.retraining.models import Promotion, TrainingRun

FORCE_PROMOTION = "model.force_promotion"


def request_training(*, config: dict[str, Any], actor: Actor) -> TrainingRun:
    """Queue a retrain with ``config``, overrides like ``{"training.epochs": 15}``.

    The configuration is resolved here, once: the run keeps it, and the training program gets it as it is. Raises
    ``SettingNotAllowed`` and ``InvalidSetting``, which name the setting.
    """
    resolved = training_settings.resolve(config).to_dict()
    run = TrainingRun(config=config, resolved_config=resolved)
    return jobs.enqueue(run, actor=actor, after={"config": config})


def request_scheduled_training() -> TrainingRun | None:
    """Queue the periodic retrain. ``None`` where a run is open already, or fewer than two customers are enrolled."""
    enough = Customer.objects.filter(state=Customer.State.ENROLLED).count() >= 2
    if selectors.open_runs().exists() or not enough:
        return None
    return request_training(config={}, actor=SYSTEM)


def cancel_training(*, run_id: uuid.UUID, actor: Actor) -> TrainingRun:
    """Cancel a run: a queued one at once, a running one when its worker hears of it.

    Raises ``RunNotFound``, and ``JobFinished`` for a run that has ended otherwise.
    """
    return jobs.request_cancel(selectors.training_run(run_id), actor=actor)


def request_promotion(*, version: str, actor: Actor, force: bool = False, reason: str = "") -> ModelVersion:
    """Queue the promotion of a CANDIDATE or RETIRED model, which is PROMOTING from now on.

    With ``force`` it needs neither evidence nor to beat the model in service; ``reason`` says why. A model that is
    ACTIVE or PROMOTING is answered as it is. Raises ``ModelNotFound``, ``NotEnoughEvidence``, and
    ``PromotionInProgress`` while another model is being promoted.
    """
    try:
        with transaction.atomic():
            model = ModelVersion.objects.select_for_update().filter(version=version).first()
            if model is None:
                raise ModelNotFound
            if model.state in (ModelVersion.State.ACTIVE, ModelVersion.State.PROMOTING):
                return model
            evidence.require(model, forced=force)
            change = {"before": {"state": model.state}, "after": {"state": ModelVersion.State.PROMOTING}}
            model.state = ModelVersion.State.PROMOTING
            model.save(update_fields=["state"])
            jobs.enqueue(Promotion(model=model, forced=force, reason=reason), actor=actor, **change)
    except IntegrityError as error:  # one_promotion
        raise PromotionInProgress from error
    return model


def request_forced_promotion(*, version: str, reason: str, actor: Actor) -> Approval:
    """Ask a second person to approve a promotion without enough evidence, or against the frozen set.

    The approval shows what is missing. Raises ``ModelNotFound``.
    """
    model = selectors.model(version)
    parameters = {"version": model.version, "evidence": evidence.of(model).summary()}
    return request_approval(action=FORCE_PROMOTION, parameters=parameters, reason=reason, actor=actor)


def register_actions() -> None:
    """Put the forced promotion under dual control."""
    approvals.register(
        approvals.Action(
            name=FORCE_PROMOTION,
            label="Promote a model without enough evidence, or against the frozen set",
            approvers=roles_with("models:promote"),
            execute=_force_promotion,
        )
    )


def _force_promotion(approval: Approval, actor: Actor) -> None:
    request_promotion(version=approval.parameters["version"], actor=actor, force=True, reason=approval.reason)
