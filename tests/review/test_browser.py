"""The review site in a real browser: every page, each role's sign-in, no error on the console."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from tests.support.audio import mu_law, tone
from tests.support.bank import ALIKE, open_bank
from tests.support.browser import PICTURES, look, needs_chromium, sign_in, sign_in_by_form
from tests.support.customers import make_customer
from tests.support.rows import keep_audio, make_decision, make_run
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import selectors
from voiceauth.review.site import SECTIONS
from voiceauth.screening import cases

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]


@pytest.fixture
def visit(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> Callable[[str, str], None]:
    """Opens a path of the site and looks at the page, in which axe-core may find nothing."""

    def open_path(path: str, name: str) -> None:
        response = page.goto(f"{live_server.url}/admin/{path}")
        assert response is not None and response.status == 200, path
        assert look(page, name, complaints) == []

    return open_path


def test_an_admin_can_open_every_page_and_the_browser_complains_about_nothing(
    page: Page, complaints: list[str], live_server: LiveServer, visit: Callable[[str, str], None]
) -> None:
    bank = open_bank(calls=420, hours=24) if PICTURES else open_bank(calls=20)
    visit("login/", "login")
    visit("../retention", "retention")
    sign_in_by_form(page, live_server, "grace")
    for name, path in bank.pages.items():
        if PICTURES or name not in ALIKE:
            visit(path, name)
    if PICTURES:
        page.goto(f"{live_server.url}/admin/{bank.pages['case']}")
        page.keyboard.press("l")
        page.locator("[data-compare][data-ready]").wait_for()
        assert look(page, "case-drawn", complaints) == []
    assert complaints == []


def test_a_reviewer_closes_a_case_and_reopens_it(
    page: Page,
    complaints: list[str],
    live_server: LiveServer,
    visit: Callable[[str, str], None],
    people: dict[str, User],
) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    evidence = {"reason": "KNOWN_FRAUDSTER", "score": 0.97, "decision_id": str(decision.pk)}
    case = cases.open_case(kind="KNOWN_FRAUDSTER", customer_id="C-1001", evidence=evidence, actor=SYSTEM)
    sign_in(page, live_server, "rita")
    path = f"screening/reviewcase/{case.pk}/"
    visit(f"{path}do/close/", "case-close")
    assert page.input_value("#id_resolution") == ""
    page.click("input[type=submit]")  # the browser itself asks for a choice
    assert page.url.endswith("/do/close/")
    page.select_option("#id_resolution", "CONFIRMED_FRAUD")
    page.fill("#id_comment", "The number is known.")
    page.click("input[type=submit]")
    page.get_by_text(f"Case {case.pk} is closed.").wait_for()
    visit(f"{path}do/watch/", "case-watch")
    visit(f"{path}change/", "case-closed")
    assert page.get_by_text("Reopen case", exact=True).is_visible()
    visit(f"{path}do/reopen/", "case-reopen")
    page.fill("#id_reason", "The customer called back.")
    page.click("input[type=submit]")
    page.get_by_text(f"Case {case.pk} is open again.").wait_for()
    assert complaints == []


def test_a_reviewer_works_through_a_case_by_keyboard_alone(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    customer, decision = make_customer(), make_decision(decision="REJECT", reasons=["REPLAY"])
    keep_audio(decision, customer)
    evidence = {"reason": "REPLAY", "score": 0.97, "decision_id": str(decision.pk)}
    other = cases.open_case(kind="REPLAY", customer_id="C-2", evidence=evidence, actor=SYSTEM)
    case = cases.open_case(kind="REPLAY", customer_id="C-1001", evidence=evidence, actor=SYSTEM)
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/screening/reviewcase/")
    keyboard = page.keyboard
    keyboard.press("j")  # the first row is the newest case
    keyboard.press("Enter")
    page.wait_for_url(f"**/reviewcase/{case.pk}/change/")
    keyboard.press("?")
    help = page.get_by_role("dialog", name="Keyboard shortcuts")
    assert "Close case" in help.inner_text() and "Play or pause recording 1" in help.inner_text()
    keyboard.press("Escape")
    help.wait_for(state="detached")
    keyboard.press("1")
    page.locator("audio").first.evaluate("player => player.paused && new Promise(done => { player.onplaying = done; })")
    keyboard.press("c")
    page.locator("textarea:focus").wait_for()
    keyboard.type("x? I called the customer.")  # letters in a field are no shortcuts
    keyboard.press("Control+Enter")
    page.get_by_text("Your comment was added.").wait_for()
    keyboard.press("x")
    page.locator("select:focus").wait_for()
    keyboard.type("CON")
    keyboard.press("Tab")
    keyboard.type("It is the enrollment, played back.")
    keyboard.press("Control+Enter")
    page.get_by_text(f"Case {case.pk} is closed.").wait_for()
    keyboard.press("o")
    page.locator("textarea:focus").wait_for()
    keyboard.press("Escape")
    page.wait_for_url(f"**/reviewcase/{case.pk}/change/")
    keyboard.press("o")
    page.locator("textarea:focus").wait_for()
    keyboard.type("The customer called back.")
    keyboard.press("Control+Enter")
    page.get_by_text(f"Case {case.pk} is open again.").wait_for()
    keyboard.press("n")
    page.wait_for_url(f"**/reviewcase/{other.pk}/change/")
    case.refresh_from_db()
    comments = list(case.comments.values_list("text", flat=True))
    assert (case.state, comments[0], len(comments)) == ("OPEN", "x? I called the customer.", 3)
    assert AuditEvent.objects.get(action="decision.audio_played").actor == "user:rita"
    assert complaints == []


def test_shortcuts_can_be_switched_off(page: Page, live_server: LiveServer, people: dict[str, User]) -> None:
    case = cases.open_case(kind="REPLAY", customer_id="C-1", evidence={"reason": "REPLAY"}, actor=SYSTEM)
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/screening/reviewcase/{case.pk}/change/")
    page.keyboard.press("?")
    page.get_by_label("Use shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    page.keyboard.press("?")
    page.get_by_label("Use shortcuts").check()  # the page is still there
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    page.wait_for_url("**/do/close/")


def test_a_filter_opens_over_the_rows_and_closes_like_a_menu(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    make_decision(), make_decision(decision="REJECT", reasons=["REPLAY"])
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/verification/decision/")
    risk, choice = page.locator("summary", has_text="Fraud risk"), page.get_by_role("link", name="KNOWN_FRAUDSTER")
    risk.click()
    choice.wait_for()
    page.keyboard.press("Escape")
    choice.wait_for(state="hidden")
    assert risk.evaluate("summary => summary === document.activeElement")
    risk.click()
    page.locator("h1").click()
    choice.wait_for(state="hidden")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("summary", has_text="Created at").click()
    box = page.get_by_role("button", name="Show these days").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    risk.click()
    page.get_by_role("button", name="Show these days").wait_for(state="hidden")  # one menu at a time
    choice.click()
    page.get_by_text("Nothing matches this search.").wait_for()
    assert page.locator("summary", has_text="Fraud risk: KNOWN_FRAUDSTER").is_visible()
    page.get_by_role("link", name="Clear all filters").click()
    page.get_by_text("2 decisions").wait_for()
    assert complaints == []


def test_every_page_of_the_menu_is_reached_on_a_narrow_screen(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    sign_in(page, live_server, "sue")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/admin/", "/try"):
        page.goto(f"{live_server.url}{path}")
        page.get_by_text("Menu", exact=True).click()
        links = page.locator(".va-menu a")
        assert links.count() == len([name for models in SECTIONS.values() for name in models])
        assert all(link.is_visible() for link in links.all())
    page.locator(".va-menu").get_by_role("link", name="Review cases").click()
    page.wait_for_url("**/admin/screening/reviewcase/")
    assert complaints == []


def test_the_trail_is_verified_from_the_browser(page: Page, live_server: LiveServer, people: dict[str, User]) -> None:
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/audit/auditevent/")
    page.click("text=Verify trail")
    page.click("input[type=submit]")
    page.get_by_text("rows are unchanged").wait_for()  # polls until its deadline


def test_a_new_client_s_token_is_shown_once(page: Page, live_server: LiveServer, people: dict[str, User]) -> None:
    sign_in(page, live_server, "grace")
    page.goto(f"{live_server.url}/admin/api/apiclient/do/create/")
    page.fill("#id_name", "IVR Vienna")
    page.select_option("#id_role", "ivr")
    page.click("input[type=submit]")
    token = page.inner_text(".va-token")
    assert token.startswith("va_ivr_")
    page.click("text=I have copied it")
    page.wait_for_url("**/admin/api/apiclient/")
    assert "IVR Vienna" in page.content()
    assert token not in page.content()


def test_the_policy_is_changed_in_the_browser(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    sign_in(page, live_server, "grace")
    page.goto(f"{live_server.url}/admin/policies/policyversion/do/change/")
    page.fill("[name=reason]", "the auditors asked")
    assert not page.locator("[name='verification.lock_after']").is_visible()
    page.get_by_text("Verification", exact=True).click()
    page.fill("[name='verification.lock_after']", "20")
    page.click("input[type=submit]")
    page.get_by_text("Policy 1 is in force").wait_for()
    assert selectors.in_force().verification.lock_after == 20
    assert complaints == []


def test_a_run_that_is_not_finished_reloads_its_page(
    page: Page, live_server: LiveServer, people: dict[str, User]
) -> None:
    run = make_run(progress_percent=46)
    sign_in(page, live_server, "grace")
    page.goto(f"{live_server.url}/admin/retraining/trainingrun/{run.pk}/change/")
    assert page.get_by_text("46 %").is_visible()
    type(run).objects.filter(pk=run.pk).update(progress_percent=71)
    page.get_by_text("71 %").wait_for()  # polls until its deadline


def test_the_overview_is_live_and_can_be_paused(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiceauth.review.site.REFRESH_SECONDS", 0.3)
    make_decision()
    sign_in(page, live_server, "rita")
    page.get_by_role("link", name="1 ACCEPT").focus()
    make_decision(decision="REJECT")
    page.get_by_role("link", name="1 REJECT").wait_for()  # polls until its deadline
    assert page.get_by_role("link", name="1 ACCEPT").evaluate("link => link === document.activeElement")
    page.get_by_role("button", name="Pause updates").click()
    make_decision(decision="REJECT")
    page.wait_for_timeout(1000)
    assert page.get_by_role("link", name="1 REJECT").is_visible()
    page.get_by_role("button", name="Resume updates").click()
    page.get_by_role("link", name="2 REJECT").wait_for()
    assert complaints == []


@pytest.mark.parametrize("recording", [tone(440), mu_law()], ids=["pcm", "mu-law"])
def test_a_reviewer_hears_the_call_and_is_recorded(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User], recording: bytes
) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer, recording)
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}/admin/verification/decision/{decision.pk}/change/")
    assert not AuditEvent.objects.filter(action="decision.audio_played").exists()  # opening the page plays nothing
    page.locator("audio").evaluate(  # not wait_for_function: its polling needs eval, which the site's CSP forbids
        """player => new Promise((heard, failed) => {
            player.ontimeupdate = () => player.currentTime > 0 && heard();
            player.onerror = failed;
            player.play().catch(failed);
        })"""
    )
    assert AuditEvent.objects.filter(action="decision.audio_played", actor="user:rita").exists()
    assert complaints == []


def test_who_may_not_see_a_page_is_told_so(page: Page, live_server: LiveServer, people: dict[str, User]) -> None:
    sign_in(page, live_server, "tom")
    page.goto(f"{live_server.url}/admin/verification/decision/")
    assert "Your role does not allow this" in page.inner_text("#content")
    page.goto(f"{live_server.url}/admin/enrollment/customer/")
    assert page.locator("#nav-sidebar").get_by_text("Audit trail").count() == 0
