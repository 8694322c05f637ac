"""The public page that says how long voices are kept."""

import pytest
from django.test import Client
from pytest_django import Settings

from voiceauth.policies.models import PolicyVersion

pytestmark = pytest.mark.django_db


def page(client: Client) -> str:
    answer = client.get("/retention")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_needs_no_sign_in_and_says_what_the_settings_say(client: Client, settings: Settings) -> None:
    settings.VOICEAUTH_EXPIRE_UNUSED_DAYS, settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS = 730, 17
    settings.VOICEAUTH_KEEP_FRAUDSTERS_DAYS, settings.VOICEAUTH_VELOCITY_HOURS = 400, 1
    shown = page(client)
    for text in (
        "not used for 2 years (730 days)",
        "17 days after the call",
        "400 days after the voice",
        "1 hour after",
    ):
        assert text in shown
    assert "joined a voiceprint" not in shown and "default policy" in shown
    assert 'href="/admin/' not in shown  # it is for the public
    assert client.head("/retention").status_code == 200 and client.post("/retention").status_code == 405


def test_it_says_what_the_policy_in_force_says(client: Client, settings: Settings) -> None:
    settings.VOICEAUTH_KEEP_CALL_AUDIO_DAYS = settings.VOICEAUTH_VELOCITY_CUSTOMERS = 0
    content = {"enrichment": {"methods": ["card"], "max_age_days": 90, "max_calls": 3}}
    PolicyVersion.objects.create(number=1, content=content, reason="calls may join")
    shown = page(client)
    assert "90 days after the call, or when it is no longer among the latest 3." in shown
    assert "They are not kept." in shown and "many customers" not in shown and "policy 1" in shown
