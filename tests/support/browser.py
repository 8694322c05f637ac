"""A headless Chromium, signed in, and what it complains about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import axe_playwright_python
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from tests.support.people import PASSWORD

CHROMIUM = Path(os.environ.get("VOICEAUTH_TEST_CHROMIUM", "/usr/bin/chromium"))
needs_chromium = (
    [] if CHROMIUM.exists() or os.environ.get("CI") else [pytest.mark.skip(reason=f"no Chromium at {CHROMIUM}")]
)


PICTURES = os.environ.get("VOICEAUTH_TEST_SCREENSHOTS")  # the folder that keeps them, where they are wanted
Look = tuple[int, Literal["light", "dark"]]
JUDGED: tuple[Look, ...] = ((390, "dark"), (1366, "light"))  # by axe-core, which takes its time
# Whose result may change with the width or the colours; all others read the document alone.
RULES_OF_A_LOOK = ("color-contrast", "link-in-text-block", "scrollable-region-focusable")
# The page has noticed its size, and its colours are no longer changing. Returns whether axe-core is there already.
# A browser without a screen now and then draws no frame, for which the page would wait for ever.
SETTLED = """async () => {
    const drawn = new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const still = drawn.then(() => Promise.allSettled(document.getAnimations().map(each => each.finished)));
    await Promise.race([still, new Promise(done => setTimeout(done, 2000))]);
    return "axe" in window;
}"""
WIDE = 1366  # from here on, every table is shown whole
CUT_OFF = """() => [...document.querySelectorAll(".results, .va-scroll")]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText.slice(0, 160))"""
# Without ``preload``, or it would fetch styles and recordings. All else that it found would be much to carry over.
AXE = """async rules => {
    const options = {preload: false, resultTypes: ["violations"], ...(rules.length ? {runOnly: rules} : {})};
    const {violations} = await axe.run(options);
    return violations.flatMap(each => each.nodes.map(node => `${each.id}: ${node.html.slice(0, 160)}`));
}"""
LOOKS = (*JUDGED, (390, "light"), (1366, "dark")) if PICTURES else JUDGED


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of a file. It plays recordings, also where nobody has clicked."""
    with chromium("--autoplay-policy=no-user-gesture-required") as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of its own, in which nobody is signed in."""
    with browser.new_context(viewport={"width": 1366, "height": 900}) as context:
        yield context.new_page()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    return complaints_of(page)


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A browser that is started with some more arguments."""
    from playwright.sync_api import sync_playwright

    # Playwright runs an event loop in this thread; Django's guard takes that for async code.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        args = ["--no-sandbox", "--mute-audio", *arguments]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=args)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def complaints_of(page: Page) -> list[str]:
    """A list that grows with what the browser complains about, and with every request to another host."""
    said: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            said.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if _is_foreign(request.url) else None)
    return said


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://localhost:", "http://127.0.0.1:", "data:", "blob:"))


def violations(page: Page, complaints: list[str], rules: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds on the page against WCAG 2.2 AA and its own best practice, with the elements.

    ``rules`` are the only ones to judge by, where some are given. While it looks, it sets styles that the site's CSP
    forbids: those ``complaints`` of the browser are not the page's.
    """
    before = len(complaints)
    page.wait_for_load_state()  # or it would judge colours before their style sheet is there
    if not page.evaluate(SETTLED):
        page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate(AXE, list(rules))
    complaints[before:] = [each for each in complaints[before:] if "Applying inline style" not in each]
    return found


def sign_in(page: Page, live_server: LiveServer, username: str) -> None:
    """Open the overview, signed in. The form has tests of its own."""
    client = Client()
    client.force_login(User.objects.get(username=username))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    page.goto(f"{live_server.url}/admin/")


def sign_in_by_form(page: Page, live_server: LiveServer, username: str) -> None:
    page.goto(f"{live_server.url}/admin/login/?next=/admin/")
    page.fill("#id_username", username)
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_selector("#user-tools")


def look(page: Page, name: str, complaints: list[str]) -> list[str]:
    """What axe-core finds on the page as it stands, light and dark, on a wide and on a narrow screen.

    Nothing may be cut off. A picture of each look is kept where ``VOICEAUTH_TEST_SCREENSHOTS`` names a folder.
    """
    found: list[str] = []
    rules: tuple[str, ...] = ()
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        assert width < WIDE or page.evaluate(CUT_OFF) == [], (name, width)
        if PICTURES:
            page.evaluate(SETTLED)
            page.screenshot(path=Path(PICTURES) / f"{name}-{width}-{scheme}.png", full_page=True)
        if (width, scheme) in JUDGED:
            found += [f"{name} {width} {scheme} {each}" for each in violations(page, complaints, rules)]
            rules = RULES_OF_A_LOOK
    return found
