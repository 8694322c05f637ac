"""Decisions: what they rest on, and the recordings of the calls."""

import pytest

from tests.support.audio import tone
from tests.support.customers import make_customer, make_sample
from tests.support.people import SignIn
from tests.support.rows import keep_audio, make_decision
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent, LaneHead
from voiceauth.screening import cases
from voiceauth.verification.attempts import key_of

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


RISKY = {"level": "HIGH_RISK", "reasons": [{"code": "REPLAY", "score": 0.9312}]}
LOW = {"level": "LOW_RISK", "reasons": []}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"risk": "any"}, {"C-1", "C-2"}),
        ({"risk": "REPLAY"}, {"C-1"}),
        ({"risk": "VELOCITY"}, {"C-2"}),
        ({"reason": "REPLAY"}, {"C-1"}),
        ({"reason": "TOO_NOISY"}, {"C-3"}),
        ({"tier": "transfer"}, {"C-2"}),
        ({"tier": "none"}, {"C-1", "C-3"}),
        ({"risk": "any", "tier": "transfer", "decision__exact": "ACCEPT"}, {"C-2"}),
    ],
)
def test_decisions_are_filtered_by_risk_reason_and_tier(
    signed_in: SignIn, query: dict[str, str], expected: set[str]
) -> None:
    make_decision("C-1", decision="REJECT", reasons=["REPLAY"], fraud_risk=RISKY)
    make_decision("C-2", tier="transfer", fraud_risk=RISKY | {"reasons": [{"code": "VELOCITY", "score": 0.8}]})
    make_decision("C-3", decision="INCONCLUSIVE", reasons=["TOO_NOISY", "CLIPPED"], fraud_risk=LOW)
    response = signed_in("reviewer").get("/admin/verification/decision/", query)
    assert {row.customer_id for row in response.context["cl"].result_list} == expected


def test_a_decision_is_found_by_its_id_its_request_its_customer_and_its_caller(signed_in: SignIn) -> None:
    wanted = make_decision("C-1", caller=key_of("+43 1 234"), request_id="wanted-request")
    make_decision("C-2", caller=key_of("+43 1 567"))
    client = signed_in("reviewer")
    for term in (str(wanted.pk), wanted.pk.hex, " C-1 ", "+43 1 234", "wanted-request", wanted.caller):
        found = client.get("/admin/verification/decision/", {"q": term}).context["cl"].result_list
        assert ([row.pk for row in found], term) == ([wanted.pk], term)
    assert not client.get("/admin/verification/decision/", {"q": "C-"}).context["cl"].result_list


def test_a_replayed_call_shows_no_bar_of_an_acceptance(signed_in: SignIn) -> None:
    replayed = make_decision(decision="REJECT", reasons=["REPLAY"], fraud_risk=RISKY, probability=0.99)
    client = signed_in("reviewer")
    for path in ("", f"{replayed.pk}/change/"):
        page = client.get(f"/admin/verification/decision/{path}").content.decode()
        assert "va-over " not in page and 'va-over"' not in page
        assert "va-overruled" in page
        assert "Probability 0.9900, threshold 0.5000; REPLAY" in page


def test_a_decision_tells_what_the_api_tells_and_what_each_figure_means(signed_in: SignIn) -> None:
    told = {"decision": "REJECT", "reasons": [], "probability": 0.0213, "threshold": 0.5, "log_likelihood_ratio": -3.8}
    decision = make_decision(
        decision="TOO_MANY_ATTEMPTS",
        probability=None,
        told=told,
        tier="transfer",
        policy=7,
        fallback="one_time_password",
        fraud_risk=RISKY,
        caller=key_of("+43 1 234"),
        channel="left",
        redacted=[[12.0, 17.5]],
        enrollment_speech_seconds=31.4,
    )
    page = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    for part in (
        "TOO_MANY_ATTEMPTS",
        "REJECT, probability 0.0213",
        "0.9312",
        "one_time_password",
        "needed even for an ACCEPT",
        ">transfer<",
        ">7</span>",
        decision.caller,
        "12 to 17.5 s",
        "31.4 s",
        ">left<",
        "the probability from which a call is accepted",
        "above 0 the same voice is likelier",
    ):
        assert part in page, part


def test_a_decision_and_its_case_link_to_each_other_for_who_may_see_both(signed_in: SignIn) -> None:
    decision = make_decision(decision="REJECT", reasons=["REPLAY"], fraud_risk=RISKY)
    evidence = {"reason": "REPLAY", "score": 0.93, "decision_id": str(decision.pk)}
    case = cases.open_case(kind="REPLAY", customer_id="C-1001", evidence=evidence, actor=SYSTEM)
    other = cases.open_case(kind="REPLAY", customer_id="C-2", evidence=evidence | {"decision_id": "x"}, actor=SYSTEM)
    ours, theirs = (f"/admin/screening/reviewcase/{each.pk}/change/" for each in (case, other))
    address = f"/admin/verification/decision/{decision.pk}/change/"
    page = signed_in("reviewer").get(address).content.decode()
    assert f'href="{ours}"' in page and theirs not in page
    assert address in signed_in("reviewer").get(ours).content.decode()


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
    LaneHead.objects.update(seal="0" * 64)  # a forged head refuses every event
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
