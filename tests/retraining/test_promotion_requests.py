"""Asking for a promotion, and what its end means for the model."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from mltraining import registry
from mltraining.errors import ModelNotFound
from mltraining.models import ModelVersion
from tests.support.model import make_model
from tests.support.trail import after
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import Conflict
from voiceauth.platform.jobs import runner, transitions
from voiceauth.platform.jobs.runner import Attempt
from voiceauth.retraining import services
from voiceauth.retraining.errors import PromotionInProgress
from voiceauth.retraining.models import Promotion

pytestmark = pytest.mark.django_db

State = ModelVersion.State
ADMIN = Actor(name="ops", role="admin")


def states() -> dict[str, str]:
    return dict(ModelVersion.objects.values_list("version", "state"))


def requested(version: str) -> Promotion:
    assert services.request_promotion(version=version, actor=ADMIN).state == State.PROMOTING
    return Promotion.objects.get(model=version, state=Promotion.State.QUEUED)


def switch(attempt: Attempt[Promotion]) -> None:
    attempt.succeed(replaced=registry.put_in_service(attempt.job.model_id))


def carried_out(promotion: Promotion, work: Callable[[Attempt[Promotion]], None] = switch) -> Promotion:
    assert runner.run(Promotion, promotion.pk, work)
    promotion.refresh_from_db()
    return promotion


def test_a_promotion_retires_the_model_in_service_and_the_way_back_is_the_same_step() -> None:
    make_model("old", State.ACTIVE)
    make_model("new")
    promotion = requested("new")
    assert states() == {"old": State.ACTIVE, "new": State.PROMOTING}
    carried_out(promotion)
    assert states() == {"old": State.RETIRED, "new": State.ACTIVE}
    carried_out(requested("old"))
    assert states() == {"old": State.ACTIVE, "new": State.RETIRED}
    event = AuditEvent.objects.filter(action="model.promoted").order_by("sequence").last()
    assert event is not None
    assert (event.before, event.after) == ({"active": "new"}, {"active": "old"})
    assert (event.target, event.model_version) == ("model:old", "old")
    assert (event.data["requested_by"], event.data["evidence"]["sufficient"]) == ("ops", True)


def test_promoting_the_model_in_service_or_the_same_model_again_changes_nothing() -> None:
    make_model("active", State.ACTIVE)
    make_model("next")
    assert services.request_promotion(version="active", actor=ADMIN).state == State.ACTIVE
    requested("next")
    assert services.request_promotion(version="next", actor=ADMIN).state == State.PROMOTING
    assert AuditEvent.objects.filter(action="model.promotion_requested").count() == 1
    assert Promotion.objects.count() == 1


def test_one_promotion_at_a_time() -> None:
    make_model("one"), make_model("two")
    requested("one")
    with pytest.raises(PromotionInProgress):
        services.request_promotion(version="two", actor=ADMIN)
    with pytest.raises(ModelNotFound):
        services.request_promotion(version="three", actor=ADMIN)
    assert Promotion.objects.count() == 1


@pytest.mark.parametrize(("served_before", "state"), [(False, State.CANDIDATE), (True, State.RETIRED)])
def test_a_promotion_that_fails_leaves_the_model_in_service_and_says_why(served_before: bool, state: str) -> None:
    make_model("active", State.ACTIVE)
    make_model("next", activated_at=timezone.now() if served_before else None)

    def refuse(attempt: Attempt[Promotion]) -> None:
        raise Conflict

    assert carried_out(requested("next"), refuse).error_code == "conflict"
    assert states() == {"active": State.ACTIVE, "next": state}
    failed = AuditEvent.objects.get(action="model.promotion_failed")
    assert (failed.outcome, after(failed)["error_code"]) == ("failed", "conflict")
    requested("next")  # it can be asked for again


def test_a_promotion_that_kills_worker_after_worker_gives_the_model_back() -> None:
    make_model("next")
    promotion = requested("next")
    for _ in range(transitions.MOST_LOST_WORKERS + 1):
        held = transitions.claim(Promotion, promotion.pk)
        assert held is not None
        transitions.lose(held)
    promotion.refresh_from_db()
    assert (promotion.state, promotion.error_code) == (Promotion.State.FAILED, "worker_lost")
    assert states() == {"next": State.CANDIDATE}
