"""The policy's page: a form of every limit, a new version, and what a version changed."""

import re
from typing import Any

import pytest
from django.test import Client

from tests.support.people import SignIn
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import selectors
from voiceauth.policies.models import PolicyVersion

pytestmark = pytest.mark.django_db
PAGE, FORM = "/admin/policies/policyversion/", "/admin/policies/policyversion/do/change/"


def change(client: Client, **fields: Any) -> str:
    """What the page answers to ``fields``, with __ for the dots of their names and ``another`` for their +."""
    given = {"reason": "the auditors asked", "based_on": selectors.in_force().number}
    response = client.post(
        FORM,
        given | {name.replace("__another__", ".+.").replace("__", "."): value for name, value in fields.items()},
        follow=True,
    )
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_change_is_a_new_version_in_force_with_what_departs_from_the_defaults(signed_in: SignIn) -> None:
    client = signed_in("admin")
    assert "the settings&#x27; defaults are in force" in client.get(PAGE).content.decode()
    shown = change(
        client,
        enrollment__default__min_snr_db="8",
        enrollment__another__name="phone",
        enrollment__another__needs_approval="True",
        verification__lock_after="20",
        tiers__transfer__target_far="0.0005",
        tiers__another__name="card",
        tiers__another__target_far="0.02",
        tiers__another__further_factor_required="False",
    )
    assert "Policy 1 is in force" in shown
    version = PolicyVersion.objects.get()
    assert version.content == {
        "enrollment": {"default": {"min_snr_db": 8.0}, "phone": {"needs_approval": True}},
        "verification": {"lock_after": 20},
        "tiers": {"transfer": {"target_far": 0.0005}, "card": {"target_far": 0.02, "further_factor_required": False}},
    }
    assert (version.reason, version.created_by) == ("the auditors asked", "user:grace")
    event = AuditEvent.objects.get(action="policy.changed")
    assert (event.actor, event.target, event.data["reason"]) == ("user:grace", "policy:1", "the auditors asked")
    assert selectors.in_force().enrollment("phone").min_snr_db == 8


def test_the_next_form_starts_from_the_version_in_force_and_an_emptied_field_falls_back(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(
        client, enrollment__another__name="phone", enrollment__another__min_snr_db="8", verification__lock_after="20"
    )
    form = client.get(FORM).content.decode()
    assert 'name="enrollment.phone.min_snr_db" value="8.0"' in form
    assert 'name="verification.lock_after" value="20"' in form
    assert 'placeholder="5"' in form  # delay_after, which departs from nothing
    assert ">Lock after:</label>" in form and ".min snr db:" not in form  # a limit's name, not its path
    change(client, enrollment__phone__min_snr_db="8", verification__lock_after="")
    assert selectors.in_force().verification.lock_after == 50
    assert PolicyVersion.objects.get(number=2).content == {"enrollment": {"phone": {"min_snr_db": 8.0}}}


def test_the_channel_of_each_client_s_recordings_is_changed_and_kept(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(client, channels="ivr-1: right\n\n mobile: app : 0 ")
    assert selectors.in_force().channels == {"ivr-1": "right", "mobile: app": "0"}
    assert "ivr-1: right\nmobile: app: 0</textarea>" in client.get(FORM).content.decode()
    page = client.get(f"{PAGE}1/change/").content.decode()
    assert "channels.ivr-1&quot;: &quot;— → right" in page


def test_the_methods_that_confirm_a_call_are_ticked_and_kept(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(client, enrichment__methods=["document", "app"], enrichment__max_calls="2")
    assert PolicyVersion.objects.get().content == {"enrichment": {"methods": ["app", "document"], "max_calls": 2}}
    assert selectors.in_force().enrichment.methods == ("app", "document")
    form = client.get(FORM).content.decode()
    assert re.findall(r'name="enrichment\.methods" value="(\w+)"[^>]* checked', form) == ["app", "document"]
    change(client, verification__lock_after="20")
    assert selectors.in_force().enrichment.methods == ()


def test_a_tier_of_one_s_own_shows_what_holds_where_it_says_nothing(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(client, tiers__another__name="card", tiers__another__target_far="0.02")
    field = re.search(
        r'name="tiers\.card\.further_factor_required".*?</select>', client.get(FORM).content.decode(), re.S
    )
    assert field is not None and "as it is: yes" in field.group()


def test_the_form_s_limits_are_those_of_the_version_that_it_is_based_on(
    signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, in_force = signed_in("admin"), selectors.in_force
    change(client, verification__lock_after="20")

    def changed_meanwhile() -> Any:
        content = {"verification": {"lock_after": 30}}
        PolicyVersion.objects.get_or_create(number=2, defaults={"content": content, "reason": "r", "created_by": "x"})
        return in_force()

    monkeypatch.setattr(selectors, "in_force", changed_meanwhile)
    form = client.get(FORM).content.decode()
    shown = [re.search(rf'name="{name}" value="(\d+)"', form) for name in ("based_on", "verification.lock_after")]
    assert [found and found.group(1) for found in shown] in (["1", "20"], ["2", "30"])


def test_a_version_tells_what_it_changed(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(client, verification__lock_after="20")
    change(client, verification__lock_after="30")
    page = signed_in("auditor").get(f"{PAGE}2/change/").content.decode()
    assert "verification.lock_after&quot;: &quot;20 → 30" in page
    assert "in force" in page and "/do/" not in page
    assert "replaced" in client.get(f"{PAGE}1/change/").content.decode()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"verification__lock_after": "500"}, "less than or equal to 100"),
        ({"enrollment__default__min_snr_db": "loud"}, "Enter a number"),
        ({"tiers__another__target_far": "0.01"}, "Give it a name."),
        (
            {"tiers__another__name": "balance", "tiers__another__target_far": "0.01"},
            "Another one has this name already.",
        ),
        ({"tiers__transfer__further_factor_required": "False"}, "Every tier needs a target false-accept rate."),
        ({"tiers__another__name": "Card!", "tiers__another__target_far": "0.01"}, "Enter a valid value"),
        ({"channels": "ivr-1 right"}, "“ivr-1 right” does not name a client and a channel"),
        ({"channels": "ivr-1: both"}, "“ivr-1: both” does not name a client and a channel"),
        ({"reason": ""}, "This field is required."),
        (
            {"based_on": "7"},
            "Somebody else has changed the policy since you read it. Read it again. <code>policy_changed</code>",
        ),
    ],
)
def test_what_no_policy_may_hold_is_said_beside_its_field(signed_in: SignIn, fields: dict[str, str], said: str) -> None:
    assert said in change(signed_in("admin"), **fields)
    assert not PolicyVersion.objects.exists()


def test_a_page_from_before_somebody_else_s_change_changes_nothing(signed_in: SignIn) -> None:
    client = signed_in("admin")
    change(client, verification__lock_after="20")
    assert "Somebody else has changed the policy" in change(client, based_on="0", verification__lock_after="60")
    assert selectors.in_force().verification.lock_after == 20
