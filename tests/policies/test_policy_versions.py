"""The policy: defaults, versions, who may change it, and that a change counts at once."""

from typing import Any

import pytest
from pytest_django import Settings

from tests.support.clients import api_client
from tests.support.trail import after, before
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import selectors

pytestmark = pytest.mark.django_db


def test_without_any_version_the_settings_are_in_force(settings: Settings) -> None:
    settings.VOICEAUTH_MIN_SNR_DB = 7
    policy = selectors.in_force()
    assert policy.number == 0
    assert policy.enrollment("phone").min_snr_db == 7
    assert policy.verification.lock_after == 50
    assert policy.tiers["transfer"].target_far < policy.tiers["balance"].target_far


def test_a_change_is_a_new_version_audited_and_in_force_at_once() -> None:
    content = {
        "enrollment": {"default": {"min_snr_db": 9}, "phone": {"needs_approval": True}},
        "verification": {"lock_after": 20},
        "tiers": {"transfer": {"target_far": 0.002}},
    }
    answer = api_client("admin").post(
        "/api/v1/policies", {"content": content, "reason": "quarterly review", "based_on": 0}, format="json"
    )
    assert answer.status_code == 201
    policy = selectors.in_force()
    assert (policy.number, policy.verification.lock_after, policy.tiers["transfer"].target_far) == (1, 20, 0.002)
    assert policy.enrollment("phone").needs_approval
    assert policy.enrollment("phone").min_snr_db == policy.enrollment("branch").min_snr_db == 9
    assert not policy.enrollment("branch").needs_approval
    event = AuditEvent.objects.get(action="policy.changed")
    assert before(event)["verification"]["lock_after"] == 50
    assert after(event)["verification"]["lock_after"] == 20
    assert event.data["reason"] == "quarterly review"


@pytest.mark.parametrize(
    "content",
    [
        {"verification": {"first_delay_seconds": 5}},  # NIST asks for 30
        {"verification": {"lock_after": 101}},  # and for at most 100
        {"tiers": {"Transfer!": {"target_far": 0.01}}},
        {"enrollment": {"phone": {"min_snr": 3}}},
        {"unknown": {}},
    ],
)
def test_what_no_policy_may_hold_is_refused(content: Any) -> None:
    answer = api_client("admin").post(
        "/api/v1/policies", {"content": content, "reason": "x", "based_on": 0}, format="json"
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_policy"
    assert selectors.in_force().number == 0


def test_of_two_changes_to_the_same_version_the_second_is_told() -> None:
    admin = api_client("admin")
    body = {"content": {}, "reason": "x", "based_on": 0}
    assert admin.post("/api/v1/policies", body, format="json").status_code == 201
    second = admin.post("/api/v1/policies", body, format="json")
    assert (second.status_code, second.json()["error"]["code"]) == (409, "policy_changed")


def test_only_administrators_change_it() -> None:
    body = {"content": {}, "reason": "x", "based_on": 0}
    for role in ("teller", "ivr", "reviewer"):
        assert api_client(role).post("/api/v1/policies", body, format="json").status_code == 403
    assert api_client("reviewer").get("/api/v1/policies/in-force").json()["number"] == 0
    assert api_client("ivr").get("/api/v1/policies/in-force").status_code == 403
