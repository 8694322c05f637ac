"""The page ``/try`` in a real browser whose microphone plays a recording, judged by the model that ships."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from playwright.sync_api import Page, StorageState
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from enrollment.models import AudioSample, Customer
from mltraining import worker_client
from mltraining.speech.audio.decoding import decode
from tests.support.audio import wav
from tests.support.browser import chromium, complaints_of, needs_chromium, sign_in, violations
from tests.support.stand_in import StandInWorker
from voiceauth.verification.models import Decision

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
ANSWERED = 60_000  # ms: the time of a recording and its scoring on a busy machine


@pytest.fixture
def heard(shipped_model: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that ships in service, and this process as its worker."""
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 8  # the browser records in real time
    monkeypatch.setattr(worker_client, "call", StandInWorker().call)


class Visits:
    """Visits of one signed-in person, each in a browser whose microphone plays one of the sample recordings."""

    def __init__(self, live_server: LiveServer, folder: Path) -> None:
        self.live_server, self.folder = live_server, folder
        self.pictures = Path(os.environ.get("VOICEAUTH_TEST_SCREENSHOTS", folder))
        self.session: StorageState | None = None
        self.complaints: list[str] = []

    @contextmanager
    def microphone(self, sample: str) -> Iterator[Page]:
        waveform = decode((SAMPLES / f"{sample}.ogg").read_bytes())
        file = self.folder / f"{sample}.wav"
        file.write_bytes(wav(waveform.samples, waveform.sample_rate))
        fake = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={file}"]
        with chromium(*fake) as browser:
            context = browser.new_context(viewport={"width": 390, "height": 844}, storage_state=self.session)
            context.grant_permissions(["microphone"], origin=self.live_server.url)
            context.set_default_timeout(ANSWERED)
            page = context.new_page()
            self.complaints = complaints_of(page)
            if self.session is None:
                sign_in(page, self.live_server, "grace")
                self.session = context.storage_state()
            page.goto(f"{self.live_server.url}/try")
            yield page

    def picture(self, page: Page, name: str) -> None:
        assert violations(page, self.complaints) == [], name
        page.screenshot(path=self.pictures / f"try-{name}.png", full_page=True)


@pytest.fixture
def visits(live_server: LiveServer, tmp_path: Path, people: dict[str, User]) -> Visits:
    return Visits(live_server, tmp_path)


def answered(page: Page) -> str | None:
    """Record until the page has heard enough, and return what it decides."""
    page.get_by_role("button", name="Record").click()
    found = page.locator("[data-decision], [data-code]")
    found.wait_for(timeout=ANSWERED)
    return found.get_attribute("data-decision") or found.get_attribute("data-code")


@pytest.mark.usefixtures("heard")
def test_one_enrolls_by_microphone_is_accepted_and_a_colleague_is_not(visits: Visits) -> None:
    with visits.microphone("enroll") as page:
        visits.picture(page, "agree")
        page.get_by_role("checkbox", name="I agree").check()
        page.get_by_role("button", name="I agree").click()
        page.get_by_role("button", name="Record").click()
        page.get_by_text("s of speech,").wait_for()
        visits.picture(page, "recording")
        page.get_by_text("ENROLLED").wait_for(timeout=ANSWERED)
        visits.picture(page, "enrolled")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visits.complaints == []
    with visits.microphone("verify") as page:
        assert answered(page) == "ACCEPT"
        visits.picture(page, "accepted")
        assert visits.complaints == []
    with visits.microphone("stranger") as page:
        assert answered(page) == "REJECT"
        visits.picture(page, "refused")
        page.get_by_label("Send it as a telephone would").check()
        assert answered(page) == "REJECT"
        page.get_by_role("button", name="Forget everything").click()
        page.get_by_role("button", name="I agree").wait_for()
        assert visits.complaints == []
    assert Customer.objects.get().state == "ERASED"
    assert not AudioSample.objects.exists()
    with transaction.atomic():
        rows = Decision.objects.order_by("created_at").values_list("decision", flat=True)
        assert list(rows) == ["ACCEPT", "REJECT", "REJECT"]


def test_without_the_microphone_the_page_says_what_else_to_do(visits: Visits) -> None:
    with chromium() as browser:
        page = browser.new_page()
        sign_in(page, visits.live_server, "grace")
        page.goto(f"{visits.live_server.url}/try")
        page.get_by_role("checkbox", name="I agree").check()
        page.get_by_role("button", name="I agree").click()
        page.get_by_role("button", name="Record").click()
        page.get_by_text("The microphone cannot be used").wait_for()
        assert page.get_by_role("button", name="Record").is_enabled()
