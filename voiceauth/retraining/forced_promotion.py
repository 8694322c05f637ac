"""Promoting a model against the evidence, which a second person must approve."""

from mltraining import selectors as models
from voiceauth.platform.approvals import registry, services
from voiceauth.platform.approvals.models import Approval
from voiceauth.platform.audit import Actor
from voiceauth.retraining import training as retraining

FORCE_PROMOTION = "model.force_promotion"


def register_actions() -> None:
    registry.register(
        registry.Action(
            name=FORCE_PROMOTION,
            label="Promote a model whatever the frozen set says",
            approvers=frozenset({"admin"}),
            execute=_force_promotion,
        )
    )


def request_forced_promotion(*, version: str, reason: str, actor: Actor) -> Approval:
    """Ask for a promotion that need not beat the model in service. Raises ``ModelNotFound``."""
    model = models.model(version)
    return services.request(action=FORCE_PROMOTION, parameters={"version": model.version}, reason=reason, actor=actor)


def _force_promotion(approval: Approval, actor: Actor) -> None:
    """Raises ``ModelNotFound`` and ``PromotionInProgress``."""
    retraining.request_promotion(**approval.parameters, actor=actor, force=True, reason=approval.reason)
