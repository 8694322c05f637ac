"""Recordings side by side in a real browser: drawn, in step, and heard only by those who may."""

import io
import wave

import numpy as np
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from enrollment.samples import enroll_sample
from mltraining.models import ModelVersion
from tests.review.test_evidence import change, replayed
from tests.support.audio import demo_voice, encode
from tests.support.browser import look, needs_chromium, sign_in
from tests.support.customers import IVR, TELLER, consenting_customer
from tests.support.stand_in import StandInWorker
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.screening.models import ReviewCase
from voiceauth.verification.services import verify

pytestmark = [pytest.mark.django_db(transaction=True), *needs_chromium]
INK = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.filter(
    (value, index) => index % 4 === 3 && value > 0).length"""


def test_a_replay_and_its_source_are_drawn_and_played_in_step_by_keyboard(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    case, _, _ = replayed()
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}{change(case)}")
    assert not AuditEvent.objects.filter(action__endswith="audio_played").exists()
    page.keyboard.press("l")
    page.locator("[data-compare][data-ready]").wait_for()
    canvases = page.locator(".va-recording canvas")
    assert [canvas.evaluate(INK) > 5000 for canvas in canvases.all()] == [True, True, True]
    played = AuditEvent.objects.filter(action__endswith="audio_played")
    assert sorted(played.values_list("action", flat=True)) == [
        "decision.audio_played",
        "enrollment.audio_played",
        "enrollment.audio_played",
    ]
    assert look(page, "evidence", complaints) == []
    page.keyboard.press("p")
    page.get_by_role("button", name="Pause").wait_for()
    call, earlier = page.locator(".va-recording audio").all()[:2]
    call.evaluate("player => new Promise(done => { player.ontimeupdate = () => player.currentTime > 0.8 && done(); })")
    apart = page.evaluate(
        """() => { const [call, earlier] = document.querySelectorAll(".va-recording audio");
                   return earlier.currentTime - call.currentTime; }"""
    )
    assert apart == pytest.approx(0.5, abs=0.2)  # as the replay was found
    assert (call.evaluate("each => each.muted"), earlier.evaluate("each => each.muted")) == (False, True)
    page.get_by_label("Hear this one").nth(1).check()
    assert (call.evaluate("each => each.muted"), earlier.evaluate("each => each.muted")) == (True, False)
    page.keyboard.press("p")
    page.get_by_role("button", name="Play in step").wait_for()
    page.locator("[data-position]").fill("2")
    assert call.evaluate("each => each.currentTime") == pytest.approx(1.5, abs=0.05)
    page.get_by_label("Whole recordings").check()
    assert float(page.locator("[data-position]").get_attribute("max") or 0) == pytest.approx(3.0, abs=0.01)
    assert played.count() == 3  # what was loaded is not fetched again
    assert complaints == []


def test_a_call_that_replays_the_enrollment_becomes_a_case_that_shows_where_it_was_taken_from(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User], real_audio_model: ModelVersion
) -> None:
    consenting_customer("ann")
    enroll_sample(customer_id="ann", audio=demo_voice(0), actor=TELLER)
    with wave.open(io.BytesIO(demo_voice(0))) as file:
        rate, content = file.getframerate(), file.readframes(file.getnframes())
    samples = np.frombuffer(content, dtype="<i2").astype(np.float32) / 32768
    played = encode(samples[rate // 2 :], "amr_nb", source_rate=rate)  # from 0.5 s on, by a mobile phone
    assert verify(customer_id="ann", audio=played, actor=IVR).reasons == ["REPLAY"]
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}{change(ReviewCase.objects.get())}")
    assert page.get_by_text("What was played begins 0.5 s into it.").is_visible()
    page.keyboard.press("l")
    page.locator("[data-compare][data-ready]").wait_for()
    assert [canvas.evaluate(INK) > 5000 for canvas in page.locator(".va-recording canvas").all()] == [True, True]
    assert look(page, "evidence-of-a-replay", complaints) == []
    assert complaints == []


def test_a_recording_that_cannot_be_decoded_is_said_to_be_one(
    page: Page, live_server: LiveServer, people: dict[str, User], worker: StandInWorker
) -> None:
    case, _, _ = replayed(b"no audio at all")
    sign_in(page, live_server, "rita")
    page.goto(f"{live_server.url}{change(case)}")
    page.keyboard.press("l")
    page.get_by_text("1 of the recordings cannot be drawn").wait_for()


def test_an_auditor_sees_the_score_and_the_attempts_and_no_recording(
    page: Page, complaints: list[str], live_server: LiveServer, people: dict[str, User]
) -> None:
    case, _, _ = replayed()
    sign_in(page, live_server, "otto")
    page.goto(f"{live_server.url}{change(case)}")
    assert page.locator("audio, canvas").count() == 0
    assert page.locator(".va-distribution").is_visible() and page.locator(".va-timeline").is_visible()
    assert complaints == []
