"""A training run in a real browser with a real worker: started, watched, promoted, and told of by webhook."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from standardwebhooks.webhooks import Webhook

from mltraining.models import ModelVersion
from tests.support.browser import needs_chromium, sign_in
from tests.support.customers import enrolled
from tests.support.listener import Listener
from tests.support.waiting import until
from tests.support.workers import running_worker

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]
ENDED = 120_000  # milliseconds that a busy machine may take
NETWORK = "127.0.0.1/32"


@pytest.mark.usefixtures("small_recogniser")
def test_a_run_is_started_watched_promoted_by_two_people_and_reaches_a_listener(
    page: Page,
    browser: Browser,
    complaints: list[str],
    live_server: LiveServer,
    people: dict[str, User],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.VOICEAUTH_WEBHOOK_NETWORKS = [ip_network(NETWORK)]
    for module in ("training", "models"):
        monkeypatch.setattr(f"voiceauth.review.admin.{module}.REFRESH_SECONDS", 1)
    for number in (1, 2, 3):
        enrolled(number, clips=3)
    log = tmp_path / "worker.log"
    with (
        Listener().running() as listener,
        running_worker(log, "training,maintenance", VOICEAUTH_WEBHOOK_NETWORKS=NETWORK) as worker,
    ):
        sign_in(page, live_server, "grace")
        page.get_by_role("link", name="Webhooks", exact=True).first.click()
        page.get_by_role("link", name="New webhook").click()
        page.get_by_label("Address").fill(listener.url)
        page.get_by_role("button", name="New webhook").click()
        secret = page.inner_text(".va-token")
        page.get_by_role("link", name="Training runs").first.click()
        page.get_by_role("link", name="Start training").click()
        page.get_by_role("button", name="Start training").click()
        page.locator("#result_list tbody th a").click()
        page.get_by_text("SUCCEEDED").wait_for(timeout=ENDED)  # the page renews itself
        assert page.get_by_role("img", name="Loss over 2 epochs").is_visible()
        model = ModelVersion.objects.get()
        page.get_by_role("link", name=model.version).click()
        page.get_by_role("link", name="Promote by force").click()
        page.get_by_label("Reason").fill("A trial with three customers.")
        page.get_by_role("button", name="Promote by force").click()
        page.get_by_text("Somebody else must approve it").wait_for()
        with browser.new_context() as another:
            second = another.new_page()
            sign_in(second, live_server, "sue")
            second.get_by_role("link", name="1 request to approve").click()
            second.locator("#result_list tbody th a").click()
            second.get_by_role("link", name="Approve", exact=True).click()
            second.get_by_role("button", name="Approve").click()
            second.get_by_text("Approved and carried out.").wait_for()
        page.reload()
        page.get_by_text("ACTIVE", exact=True).wait_for(timeout=ENDED)
        until(lambda: bool(listener.received))
        worker.stop()
    headers, body = listener.received[0]
    assert Webhook(secret).verify(body, headers)["type"] == "training_run.ended"
    assert complaints == []
