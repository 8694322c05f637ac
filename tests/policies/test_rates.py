"""The false-accept rates of the policy, and whether the calibration in force can promise them."""

from dataclasses import replace

import pytest
from rest_framework.test import APIClient

from tests.support import evidence
from tests.support.model import activate_model
from voiceauth.platform.audit import Actor
from voiceauth.policies import selectors, services
from voiceauth.policies.errors import InvalidPolicy, RateNotSupported
from voiceauth.policies.models import PolicyVersion

pytestmark = pytest.mark.django_db
OPS = Actor(name="ops", role="admin")


def test_a_new_rate_that_the_calibration_in_force_cannot_promise_is_refused() -> None:
    activate_model()  # calibrated on 4,000 impostor trials
    for content in (
        {"tiers": {"card": {"target_far": 0.0001}}},
        {"tiers": {"transfer": {"target_far": 0.0005}}},
        {"verification": {"target_far": 0.0005}},
    ):
        with pytest.raises(RateNotSupported) as refused:
            services.change(content=content, reason="x", based_on=0, actor=OPS)
        (rate,) = refused.value.data["rates"]
        assert rate["missing"][0]["code"] == "too_few_impostor_trials"
    assert not PolicyVersion.objects.exists()
    services.change(content={"tiers": {"card": {"target_far": 0.002}}}, reason="x", based_on=0, actor=OPS)


def test_an_old_rate_that_is_not_supported_any_more_is_answered_with_a_warning(admin: APIClient) -> None:
    evidence.calibrate(activate_model(), replace(evidence.ENOUGH, impostor_trials=400))
    body = {"content": {"verification": {"lock_after": 20}}, "reason": "x", "based_on": 0}
    answer = admin.post("/api/v1/policies", body, format="json")
    assert answer.status_code == 201
    (unmet,) = answer.json()["unmet_rates"]
    assert (unmet["tier"], unmet["target_far"]) == ("transfer", 0.001)
    assert "400 impostor trials, 3000 are needed" in unmet["message"]
    assert admin.get("/api/v1/policies/in-force").json()["unmet_rates"] == [unmet]


def test_the_default_rate_is_one_in_a_hundred_and_may_not_be_lax() -> None:
    assert selectors.in_force().verification.target_far == 0.01
    with pytest.raises(InvalidPolicy):
        services.change(content={"verification": {"target_far": 0.5}}, reason="x", based_on=0, actor=OPS)
