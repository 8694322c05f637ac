"""No model serves decisions without evidence, unless a second person forces it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from mltraining.models import ModelVersion
from tests.support import evidence as fixtures
from tests.support.evidence import ENOUGH, RETRAINED
from tests.support.model import make_model, register_untrained
from voiceauth.platform.approvals import services as approvals
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import selectors
from voiceauth.policies import services as policies
from voiceauth.retraining import evidence, promotion, services
from voiceauth.retraining.models import Promotion

pytestmark = pytest.mark.django_db
OPS, OTHER = Actor(name="ops", role="admin"), Actor(name="grace", role="admin")
State = ModelVersion.State


def promote(client: APIClient, version: str = "v1", **body: Any) -> Response:
    return client.post(f"/api/v1/models/{version}/promote", body, format="json")


def test_a_model_retrained_on_three_customers_is_refused_with_what_is_missing(admin: APIClient) -> None:
    model = make_model("v1", measured_on=RETRAINED)
    refused = promote(admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_enough_evidence")
    shown = refused.json()["error"]["data"]["evidence"]
    assert [each["code"] for each in shown["missing"]] == [
        "trained_on_these_speakers", "too_few_impostor_trials", "too_few_target_trials", "too_few_speakers",
    ]  # fmt: skip
    assert (shown["target_far"], shown["target_trials"], shown["impostor_trials"]) == (0.01, 3, 6)
    assert "6 impostor trials, 300 are needed" in refused.json()["error"]["message"]
    model.refresh_from_db()
    assert model.state == State.CANDIDATE
    assert AuditEvent.objects.exclude(outcome="success").get().data["code"] == "not_enough_evidence"


def test_a_model_without_any_calibration_is_refused(admin: APIClient) -> None:
    make_model("v1", measured_on=None)
    assert promote(admin).json()["error"]["code"] == "not_enough_evidence"


def test_many_trials_of_speakers_who_trained_the_model_are_no_evidence(admin: APIClient) -> None:
    make_model("v1", measured_on=replace(ENOUGH, impostor_trials=1_000_000, strangers=False))
    refused = promote(admin).json()["error"]
    assert [each["code"] for each in refused["data"]["evidence"]["missing"]] == ["trained_on_these_speakers"]


def test_a_model_says_what_it_was_calibrated_on(admin: APIClient) -> None:
    make_model("v1")
    shown = admin.get("/api/v1/models/v1").json()["evidence"]
    assert shown == {
        "sufficient": True, "target_far": 0.01, "missing": [], "threshold": 0.5, "target_trials": 40,
        "impostor_trials": 4000, "speakers": 40, "strangers": True, "source": "trials of strangers",
    }  # fmt: skip
    assert promote(admin).status_code == 202


@pytest.mark.usefixtures("small_recogniser")
def test_a_forced_promotion_is_carried_out_once_a_second_person_has_seen_what_is_missing(
    admin: APIClient, tmp_path: Path
) -> None:
    model = register_untrained(tmp_path)
    fixtures.calibrate(model, RETRAINED)
    asked = promote(admin, model.version, force=True, reason="pilot with staff only")
    assert (asked.status_code, asked.json()["state"]) == (202, "REQUESTED")
    assert asked.json()["parameters"]["evidence"]["sufficient"] is False
    path = f"/api/v1/approvals/{asked.json()['id']}/approve"
    assert admin.post(path).json()["error"]["code"] == "second_person_required"

    approvals.approve(approval_id=asked.json()["id"], actor=OTHER)
    promotion.execute(Promotion.objects.get().pk)
    assert ModelVersion.objects.get().state == State.ACTIVE
    for action in ("model.promotion_requested", "model.promoted"):
        event = AuditEvent.objects.get(action=action)
        assert (event.data["force"], event.data["reason"]) == (True, "pilot with staff only")
        assert event.data["evidence"]["sufficient"] is False
        assert len(event.data["evidence"]["missing"]) == 4


def test_the_way_back_to_a_model_that_was_in_service_needs_no_evidence(admin: APIClient) -> None:
    model = make_model("old", State.RETIRED, measured_on=RETRAINED)
    assert promote(admin, "old").status_code == 202
    model.refresh_from_db()
    evidence.require(model, forced=False)  # what the switch asks


def test_a_stricter_policy_asks_for_more_evidence(admin: APIClient) -> None:
    make_model("v1", measured_on=replace(ENOUGH, impostor_trials=400))
    policies.change(content={"verification": {"target_far": 0.001}}, reason="x", based_on=0, actor=OPS)
    refused = promote(admin).json()["error"]["data"]["evidence"]
    assert [(each["code"], each["need"]) for each in refused["missing"]] == [("too_few_impostor_trials", 3000)]


@pytest.mark.usefixtures("small_recogniser")
def test_evidence_that_is_lost_during_the_promotion_stops_it(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    services.request_promotion(version=model.version, actor=OPS)
    policies.change(content={"verification": {"target_far": 0.0001}}, reason="x", based_on=0, actor=OPS)
    promotion.execute(Promotion.objects.get().pk)
    assert Promotion.objects.get().error_code == "not_enough_evidence"
    assert ModelVersion.objects.get().state == State.CANDIDATE


def test_the_model_that_ships_supports_the_default_policy() -> None:
    model = make_model("v1", measured_on=None)
    calibration = fixtures.shipped()
    calibration.model = model
    calibration.save()
    found = evidence.of(model)
    assert found.is_sufficient
    assert found.summary()["threshold"] == pytest.approx(fixtures.shipped_threshold())
    assert not selectors.unmet_rates()  # no model is in service: nothing to compare with
    ModelVersion.objects.update(state=State.ACTIVE)
    assert not selectors.unmet_rates()  # the tiers of the default policy hold, too
