"""The state machine of a promotion, each step with its audit event."""

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from mltraining.errors import ModelNotFound
from mltraining.models import ModelVersion
from mltraining.registry import record_event
from voiceauth.platform.audit import SYSTEM, Actor
from voiceauth.platform.jobs.leases import LOST_SECONDS, send_on_commit
from voiceauth.retraining.errors import PromotionInProgress

State = ModelVersion.State


def begin_promotion(*, version: str, actor: Actor, force: bool = False, reason: str = "") -> ModelVersion:
    """CANDIDATE or RETIRED -> PROMOTING, and its message to the training queue once committed.

    With ``force`` whatever the frozen set says; ``reason``, for the trail, says why. An ACTIVE model, or one that is
    being promoted, is answered as it is. Raises ``ModelNotFound``, and ``PromotionInProgress`` while another model is
    being promoted.
    """
    try:
        with transaction.atomic():
            model = ModelVersion.objects.select_for_update().filter(version=version).first()
            if model is None:
                raise ModelNotFound
            if model.state in (State.ACTIVE, State.PROMOTING):
                return model
            before = {"state": model.state}
            model.state = State.PROMOTING
            model.promotion_percent, model.promotion_error = 0, ""
            model.promotion_requested_by, model.promotion_heartbeat_at = actor.name, None
            model.promotion_forced = force
            model.save()
            said = {"force": True, "reason": reason} if force else {}
            record_event("promotion_requested", model, actor, said=said, before=before, after={"state": model.state})
            send_on_commit("retraining.run_promotion", version)
    except IntegrityError as error:  # one_promotion
        raise PromotionInProgress from error
    return model


def claim_promotion(version: str) -> bool:
    """True for the one worker that may carry the promotion out: nobody's heart beats on it."""
    now = timezone.now()
    free = ModelVersion.objects.filter(version=version, state=State.PROMOTING).exclude(
        promotion_heartbeat_at__gte=now - timedelta(seconds=LOST_SECONDS)
    )
    return bool(free.update(promotion_heartbeat_at=now))


def promotion_progress(version: str, percent: float) -> None:
    """Save how far the re-embedding is; it is the heartbeat as well."""
    ModelVersion.objects.filter(version=version, state=State.PROMOTING).update(
        promotion_percent=percent, promotion_heartbeat_at=timezone.now()
    )


def release_promotion(version: str) -> None:
    """The worker stops: another takes the promotion up without waiting for the heartbeat to grow old."""
    ModelVersion.objects.filter(version=version, state=State.PROMOTING).update(promotion_heartbeat_at=None)


def finish_promotion(version: str) -> None:
    """In one transaction: ACTIVE -> RETIRED for the model in service, PROMOTING -> ACTIVE for ``version``.

    The caller's transaction has made sure that every customer has a voiceprint under ``version``.
    """
    with transaction.atomic():
        retired = ModelVersion.objects.select_for_update().filter(state=State.ACTIVE).first()
        if retired is not None and retired.version == version:
            return  # committed by an earlier try whose answer was lost
        if retired is not None:
            ModelVersion.objects.filter(version=retired.version).update(state=State.RETIRED)
        if not ModelVersion.objects.filter(version=version, state=State.PROMOTING).update(
            state=State.ACTIVE, promotion_percent=100, activated_at=timezone.now()
        ):
            raise RuntimeError(f"model {version} is not being promoted")
        model = ModelVersion.objects.get(version=version)
        record_event(
            "promoted",
            model,
            SYSTEM,
            before={"active": retired.version if retired else None},
            after={"active": version},
            threshold=model.threshold,
        )


def abort_promotion(version: str, *, code: str) -> None:
    """PROMOTING -> what it was before, with the reason in ``promotion_error``. The active model stays."""
    with transaction.atomic():
        model = ModelVersion.objects.select_for_update().filter(version=version, state=State.PROMOTING).first()
        if model is None:
            return
        model.state = State.CANDIDATE if model.activated_at is None else State.RETIRED
        model.promotion_error = code
        model.save()
        record_event(
            "promotion_failed", model, SYSTEM, outcome="failed", after={"state": model.state, "error_code": code}
        )


def recover_promotion() -> None:
    """The sweep: a promotion whose worker died, or whose message was lost, is sent again."""
    lost = ModelVersion.objects.filter(state=State.PROMOTING).exclude(
        promotion_heartbeat_at__gte=timezone.now() - timedelta(seconds=LOST_SECONDS)
    )
    for version in lost.values_list("version", flat=True):
        send_on_commit("retraining.run_promotion", version)
