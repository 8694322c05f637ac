"""Signing in with a second factor and by an identity provider, in a real browser."""

import base64
import time

import pytest
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from playwright.sync_api import Page
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.support.browser import look, needs_chromium, sign_in_by_form
from tests.support.people import PASSWORD
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, Provider
from voiceauth.review.sign_in.models import SecondFactor

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]


def code_of(secret: str) -> str:
    """What the app shows."""
    return f"{TOTP(base64.b32decode(secret.replace(' ', ''))).token():06d}"


def test_a_person_sets_up_a_second_factor_and_signs_in_with_it(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    found: list[str] = []

    sign_in_by_form(page, live_server, "rita")
    page.get_by_role("link", name="Second factor").click()
    found += look(page, "second-factor-none", complaints)
    page.get_by_role("link", name="Set up a second factor").click()
    found += look(page, "second-factor-set-up", complaints)
    assert page.locator(".va-qr svg").is_visible()
    secret = page.inner_text(".va-token")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Set up").click()
    page.get_by_text("This code is wrong").wait_for()
    found += look(page, "second-factor-set-up-wrong", complaints)
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Set up").click()
    codes = page.locator(".va-recovery-codes code").all_inner_texts()
    assert len(codes) == 10
    found += look(page, "second-factor-codes", complaints)
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_text("10 recovery codes are left.").wait_for()
    found += look(page, "second-factor", complaints)
    page.get_by_role("button", name="Log out").click()

    page.goto(f"{live_server.url}/admin/login/?next=/admin/audit/auditevent/")
    page.fill("#id_username", "rita")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    assert page.locator("#id_code:focus").count() == 1
    found += look(page, "sign-in-code", complaints)
    page.keyboard.type("123")
    page.keyboard.press("Enter")
    page.get_by_text("This code is wrong").wait_for()
    found += look(page, "sign-in-code-wrong", complaints)
    SecondFactor.objects.update(last_step=int(time.time()) // 30 - 2)  # in place of a wait for the next code
    page.fill("#id_code", code_of(secret))
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/audit/auditevent/")
    assert found == []
    assert complaints == []


def test_the_sign_in_page_leads_to_the_provider_and_a_refusal_back(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User], settings: Settings
) -> None:
    found: list[str] = []
    with Provider(person={"sub": "1", "preferred_username": "rita.reviewer", "groups": ["staff"]}).running() as running:
        settings.VOICEAUTH_OIDC_ISSUER, settings.SESSION_COOKIE_SAMESITE = running.issuer, "Lax"
        settings.VOICEAUTH_OIDC_CLIENT_ID, settings.VOICEAUTH_OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        settings.VOICEAUTH_OIDC_ROLES = {"voice-reviewers": "reviewer"}
        page.goto(f"{live_server.url}/admin/login/?next=/admin/audit/auditevent/")
        found += look(page, "sign-in-provider", complaints)
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.get_by_text("gives you no role here").wait_for()
        found += look(page, "sign-in-refused", complaints)
        running.person["groups"] = ["voice-reviewers"]
        page.get_by_role("link", name="Back to the sign-in").click()
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.get_by_role("button", name="Log out").wait_for()
        assert page.get_by_role("link", name="Second factor").count() == 0
    assert found == []
    assert [each for each in complaints if "403" not in each] == []  # the browser reports the refusal's status
