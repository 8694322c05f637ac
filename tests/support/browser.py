"""A headless Chromium, signed in, and what it complains about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import axe_playwright_python
import pytest
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
LOOKS = (*JUDGED, (390, "light"), (1366, "dark")) if PICTURES else JUDGED


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


def violations(page: Page, complaints: list[str]) -> list[str]:
    """What axe-core finds on the page against WCAG 2.2 AA and its own best practice, with the elements.

    While it looks, it sets styles that the site's CSP forbids: those ``complaints`` of the browser are not the page's.
    """
    before = len(complaints)
    page.wait_for_load_state()  # or it would judge colours before their style sheet is there, or half way to others
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run({preload: false})")["violations"]  # or it would fetch styles and recordings
    complaints[before:] = [each for each in complaints[before:] if "Applying inline style" not in each]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def sign_in(page: Page, live_server: LiveServer, username: str) -> None:
    page.goto(f"{live_server.url}/admin/login/?next=/admin/")
    page.fill("#id_username", username)
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_selector("#user-tools")


def pictures(page: Page, name: str) -> None:
    """Keep a picture of each look of the page as it stands, where ``VOICEAUTH_TEST_SCREENSHOTS`` names a folder."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
        picture(page, f"{name}-{width}-{scheme}")


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
