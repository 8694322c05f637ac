"""The evidence of a case: recordings side by side, the score among trials, further attempts; for each role."""

import io
import wave
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from mltraining.errors import NotAudio
from tests.support.audio import encode, tone, voice, wav
from tests.support.customers import make_customer, make_sample
from tests.support.evidence import DISTRIBUTION
from tests.support.model import make_model
from tests.support.people import SignIn
from tests.support.rows import keep_audio, make_decision
from tests.support.stand_in import StandInWorker
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.screening import cases
from voiceauth.screening.models import ReviewCase
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db
SPEECH = wav(voice(7, seconds=3.0, sample_rate=8000), 8000)


def replayed(call: bytes | None = None) -> tuple[ReviewCase, Decision, Any]:
    """A case about a call that repeats an enrollment recording from 0.5 s on."""
    customer, model = make_customer(), make_model(state="ACTIVE")
    model.calibrations.update(distribution=DISTRIBUTION)
    sample = make_sample(customer, audio=SPEECH)
    make_sample(customer, 2)
    decision = make_decision(decision="REJECT", reasons=["REPLAY"], caller="c" * 64)
    keep_audio(decision, customer, call or wav(voice(7, seconds=3.0, sample_rate=8000)[4000:], 8000))
    evidence = {
        "reason": "REPLAY",
        "score": 0.97,
        "decision_id": str(decision.pk),
        "offset_seconds": 0.5,
        "stretches": [[0.0, 2.4]],
        "heard_in_sample": str(sample.pk),
    }
    return cases.open_case(kind="REPLAY", customer_id="C-1001", evidence=evidence, actor=SYSTEM), decision, sample


def change(case: ReviewCase) -> str:
    return f"/admin/screening/reviewcase/{case.pk}/change/"


def test_a_replayed_call_stands_beside_the_earlier_recording_where_it_begins_in_it(signed_in: SignIn) -> None:
    case, decision, sample = replayed()
    shown = signed_in("reviewer").get(change(case)).context["recordings"]
    call, earlier, other = shown
    assert (call.source, call.begins_at, list(call.marks)) == (
        f"/admin/verification/decision/{decision.pk}/audio/",
        0.5,
        [[0.0, 2.4]],
    )
    assert earlier.source == f"/admin/enrollment/customer/samples/{sample.pk}/audio/"
    assert (earlier.begins_at, earlier.marks) == (0.0, [(0.5, 2.9)])
    assert "begins 0.5 s into it" in earlier.meaning
    assert other.title.startswith("Enrollment, ") and other.source != earlier.source


def test_the_part_in_another_voice_is_marked(signed_in: SignIn) -> None:
    customer = make_customer()
    reasons: dict[str, Any] = {"decision": "INCONCLUSIVE", "reasons": ["MORE_THAN_ONE_SPEAKER"], "probability": None}
    decision = make_decision(**reasons, voice_changes_at=4.25)
    keep_audio(decision, customer)
    page = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/change/").content.decode()
    assert 'data-marks="4.250-' in page and "Another voice speaks in the marked part" in page


def test_a_score_stands_among_the_trials_of_the_calibration_that_read_it(signed_in: SignIn) -> None:
    case, _, _ = replayed()
    client = signed_in("reviewer")
    page = client.get(change(case)).content.decode()
    assert "va-distribution" in page and "of the impostor trials reach this ratio" in page
    assert "4000 impostor trials of 40 speakers" in page
    make_model("20261125-203015-000000").calibrations.update(distribution={})
    Decision.objects.update(model_version="20261125-203015-000000")
    page = client.get(change(case)).content.decode()
    assert "va-distribution" not in page and "before distributions were kept" in page


def test_other_attempts_on_the_customer_and_of_the_caller_are_listed_and_strangers_are_not(signed_in: SignIn) -> None:
    case, decision, _ = replayed()
    mine, caller, stranger = make_decision(), make_decision("C-2", caller="c" * 64), make_decision("C-3")
    Decision.objects.filter(pk=mine.pk).update(created_at=timezone.now() - timedelta(days=2))
    attempts = signed_in("reviewer").get(change(case)).context["attempts"]
    assert [(each.decision.pk, each.lane) for each in attempts] == [
        (caller.pk, "this caller"),
        (decision.pk, "this case"),
        (mine.pk, "this customer"),
    ]
    assert stranger.pk not in {each.decision.pk for each in attempts}


def test_attempts_in_one_fraudster_s_voice_are_found_over_all_cases(signed_in: SignIn) -> None:
    made = []
    for name in ("C-1", "C-2"):
        call = make_decision(name)
        evidence = {"reason": "KNOWN_FRAUDSTER", "score": 0.9, "decision_id": str(call.pk)}
        about: dict[str, Any] = {"kind": "KNOWN_FRAUDSTER", "customer_id": name, "subject": "f1"}
        made.append(cases.open_case(**about, evidence=evidence, actor=SYSTEM))
    attempts = signed_in("reviewer").get(change(made[0])).context["attempts"]
    assert [(each.decision.customer_id, each.lane) for each in attempts] == [
        ("C-2", "this voice"),
        ("C-1", "this voice"),
    ]


@pytest.mark.parametrize(
    ("role", "status", "hears"),
    [
        ("reviewer", 200, True),
        ("admin", 200, True),
        ("auditor", 200, False),
        ("teller", 403, False),
        ("nobody", 403, False),
    ],
)
def test_who_may_not_listen_is_told_of_no_recording(signed_in: SignIn, role: str, status: int, hears: bool) -> None:
    case, decision, _ = replayed()
    client = signed_in(role)
    for path in (change(case), f"/admin/verification/decision/{decision.pk}/change/"):
        answer = client.get(path)
        page = answer.content.decode()
        assert answer.status_code == status
        assert ("data-source=" in page, "/audio/" in page) == (hears, hears)
        assert ("va-timeline" in page) == (status == 200)
    assert not AuditEvent.objects.filter(action__endswith="audio_played").exists()  # a page plays nothing by itself


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("", 200, 0, None),
        ("bytes=0-", 206, 0, None),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=100-999999", 206, 100, None),
        ("bytes=-40", 206, -40, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("bytes=-", 200, 0, None),
    ],
)
def test_a_range_of_a_recording_is_streamed(
    signed_in: SignIn, asked: str, status: int, start: int, end: int | None
) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    answer = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/", headers={"Range": asked})
    assert (answer.status_code, answer["Accept-Ranges"]) == (status, "bytes")
    assert answer.content == tone(440)[start:end]
    if status == 206:
        first = start % len(tone(440))
        last = first + len(answer.content) - 1
        assert answer["Content-Range"] == f"bytes {first}-{last}/{len(tone(440))}"
    assert AuditEvent.objects.filter(action="decision.audio_played").count() == 1


def test_a_range_beyond_the_end_is_refused(signed_in: SignIn) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer)
    path = f"/admin/verification/decision/{decision.pk}/audio/"
    answer = signed_in("reviewer").get(path, headers={"Range": "bytes=999999-"})
    assert (answer.status_code, answer["Content-Range"]) == (416, f"bytes */{len(tone(440))}")


@pytest.mark.parametrize("name", ["amr_nb", "wav_ima_adpcm", "alac", "au"])
def test_what_browsers_do_not_play_is_decoded_by_a_worker(signed_in: SignIn, worker: StandInWorker, name: str) -> None:
    customer, decision = make_customer(), make_decision()
    speech = voice(7, seconds=2.0)
    keep_audio(decision, customer, encode(speech, name))
    answer = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "audio/wav")
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getnchannels() == 1 and file.getnframes() / file.getframerate() == pytest.approx(2.0, abs=0.1)
    assert AuditEvent.objects.filter(action="decision.audio_played").count() == 1


@pytest.mark.parametrize("name", ["wav", "wav_mulaw", "ogg_opus", "webm_opus", "mp3", "flac", "m4a", "aac"])
def test_what_browsers_play_is_streamed_as_it_is_stored(signed_in: SignIn, name: str) -> None:
    customer, decision, stored = make_customer(), make_decision(), encode(voice(7, seconds=1.0), name)
    keep_audio(decision, customer, stored)
    assert signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/").content == stored


def test_a_recording_that_cannot_be_decoded_is_said_to_be_one(signed_in: SignIn, worker: StandInWorker) -> None:
    customer, decision = make_customer(), make_decision()
    keep_audio(decision, customer, b"no audio at all")
    answer = signed_in("reviewer").get(f"/admin/verification/decision/{decision.pk}/audio/")
    assert (answer.status_code, answer["Content-Type"]) == (NotAudio.status, "text/plain")
