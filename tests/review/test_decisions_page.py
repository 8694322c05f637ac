"""Decisions: what they rest on, and the recordings of the calls."""

import pytest

from tests.support.audio import tone
from tests.support.customers import make_customer, make_sample
from tests.support.people import SignIn
from tests.support.rows import keep_audio, make_decision
from voiceauth.platform.audit.models import AuditEvent, ChainHead

pytestmark = pytest.mark.django_db


def test_the_probability_is_drawn_against_its_threshold_in_words_too(signed_in: SignIn) -> None:
    make_decision(probability=0.9871, threshold=0.5)
    make_decision(decision="NOT_ENOUGH_SPEECH", probability=None)
    page = signed_in("reviewer").get("/admin/verification/decision/").content.decode()
    assert 'aria-label="Probability 0.9871, threshold 0.5000"' in page
    assert "no score" in page
    assert "20261124-203015-3fa9c1" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"decision__exact": "REJECT"}, {"C-2"}),
        ({"kind__exact": "identify"}, {"C-3"}),
        ({"model_version": "other"}, {"C-4"}),
        ({"q": "C-1"}, {"C-1"}),
        ({"customer_id": "C-4"}, {"C-4"}),
        ({}, {"C-1", "C-2", "C-3", "C-4"}),
    ],
)
def test_decisions_are_filtered(signed_in: SignIn, query: dict[str, str], expected: set[str]) -> None:
    make_decision("C-1")
    make_decision("C-2", decision="REJECT", probability=0.02)
    make_decision("C-3", kind="identify", decision="MATCH")
    make_decision("C-4", model_version="other")
    response = signed_in("reviewer").get("/admin/verification/decision/", query)
    assert {row.customer_id for row in response.context["cl"].result_list} == expected


def test_a_decision_shows_everything_that_it_rested_on(signed_in: SignIn) -> None:
    decision = make_decision(
        kind="identify",
        decision="MATCH",
        candidates=[{"customer_id": "C-77", "probability": 0.93}, {"customer_id": "C-78", "probability": 0.04}],
    )
    page = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    for part in ("8.93", "0.71", "21.0 dB", decision.model_fingerprint, "C-77", "Probability 0.0400", "5f1c3a52-req"):
        assert part in page


def test_playing_a_call_streams_what_was_uploaded_and_is_recorded(signed_in: SignIn) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    response = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert response.content == tone(440)
    assert response["Content-Type"] == "audio/wav"
    assert "no-store" in response["Cache-Control"]
    event = AuditEvent.objects.get(action="decision.audio_played")
    assert (event.actor, event.role, event.customer_id) == ("user:rita", "reviewer", "C-1001")
    assert event.target == f"decision:{decision.pk}"
    assert event.model_version == decision.model_version


def test_playing_an_enrollment_recording_is_recorded_too(signed_in: SignIn) -> None:
    sample = make_sample(make_customer())
    response = signed_in("admin").get(f"/admin/enrollment/customer/samples/{sample.pk}/audio/")
    assert response.content == tone(301)
    event = AuditEvent.objects.get(action="enrollment.audio_played")
    assert (event.actor, event.customer_id, event.target) == ("user:grace", "C-1001", f"sample:{sample.pk}")


def test_no_audio_leaves_the_browser_where_the_trail_cannot_be_written(signed_in: SignIn) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    client = signed_in("reviewer")
    ChainHead.objects.update(seal="0" * 64)  # a forged head refuses every event
    client.raise_request_exception = False
    response = client.get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert response.status_code == 500
    assert b"RIFF" not in response.content


def test_audio_that_is_gone_is_a_404(signed_in: SignIn) -> None:
    decision = make_decision()
    client = signed_in("reviewer")
    assert client.get(f"/admin/verification/decision/{decision.pk}/audio/").status_code == 404
    assert (
        "There is no audio of this call"
        in client.get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    )


def test_audio_is_not_played_by_a_post(signed_in: SignIn) -> None:
    decision = make_decision()
    assert signed_in("reviewer").post(f"/admin/verification/decision/{decision.pk}/audio/").status_code == 405
