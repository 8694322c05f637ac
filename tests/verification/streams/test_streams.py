"""Calls played by a real WebSocket client to a real web server, with a real worker process and a real network."""

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.test import APIClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from enrollment.models import HeardRecording
from mltraining import registry, worker_client
from mltraining.speech.audio import quality
from mltraining.speech.audio.decoding import decode
from tests.support.audio import demo_voice
from tests.support.clients import SignedIn, api_client, upload
from tests.support.customers import consenting_customer
from tests.support.model import leave_voices_together, put_into_service, register_untrained
from tests.support.phone import ADDRESS, PATIENCE, Dial, telephone
from tests.support.waiting import until
from tests.support.web import running_web
from tests.support.workers import Worker, running_worker
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies.models import PolicyVersion
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 8000  # bytes of mu-law


ANN, BOB = demo_voice(0), demo_voice(1)


CALL, STRANGER = telephone(ANN), telephone(BOB)
SILENCE = b"\xff" * SECONDS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def scoring(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("log") / "scoring.log"
    with django_db_blocker.unblock(), running_worker(log, "scoring", VOICEAUTH_MODELS_DIR=str(models)) as worker:
        yield worker


@pytest.fixture(scope="module")
def port(django_db_setup: None, scoring: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    variables = {"VOICEAUTH_SCORING_DEADLINE_SECONDS": "30", "VOICEAUTH_TRUSTED_PROXIES": "1"}
    with running_web(tmp_path_factory.mktemp("web"), **variables) as number:
        yield number


@pytest.fixture
def enrolled(teller: APIClient, models: Path, settings: Settings, scoring: Worker) -> None:
    """Ann, under a small model that tells her from Bob."""
    settings.VOICEAUTH_MODELS_DIR = models
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 3
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 30
    if found := list(models.iterdir()):  # made by an earlier test
        put_into_service(registry.register(version=found[0].name))
    else:
        put_into_service(register_untrained(models.parent / "exports", apart=(ANN, BOB)))
    leave_voices_together()
    consenting_customer("ann")
    answer = teller.post("/api/v1/customers/ann/enrollments", {"audio": upload(ANN)}).json()
    assert answer["state"] == "ENROLLED", answer
    HeardRecording.objects.all().delete()


def answer_when_calls_stop() -> None:
    """No call holds as much speech as the policy then asks for."""
    content = {"verification": {"answer_after_seconds": 30, "min_one_voice_llr": -1e9}}
    PolicyVersion.objects.create(number=2, content=content, reason="long calls, of an untrained network")


def decisions_made() -> list[str]:
    return list(AuditEvent.objects.filter(action="decision.made").values_list("target", flat=True))


def test_a_streamed_call_is_answered_before_it_ends_and_like_an_upload_of_the_same_audio(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn, auditor: SignedIn
) -> None:
    phone = dial(port, ivr.token).start(customer_id="ann", caller="+442079460958").play(CALL)
    started = phone.hear("started")
    assert (started["streamSid"], started["answer_after_seconds"]) == ("MZ1", 3.0)
    answer = phone.hear("decision")
    assert phone.closed() == (1000, "")
    streamed = answer["decision"]
    assert (streamed["decision"], streamed["decision_id"]) == ("ACCEPT", started["stream_id"])
    assert streamed["speech_seconds"] >= 3

    row = Decision.objects.get()
    assert (row.actor, row.caller != "", decisions_made()) == ("a-ivr", True, [f"decision:{row.pk}"])
    assert AuditEvent.objects.get(action="decision.made").ip_address == ADDRESS
    assert CallAudio.objects.get().decision_id == row.pk
    assert HeardRecording.objects.get().decision_id == row.pk

    HeardRecording.objects.all().delete()
    heard = CALL[: round(answer["audio_seconds"] * SECONDS)]
    form = {"customer_id": "ann", "audio": upload(heard), "format": "mulaw", "caller": "+442079460958"}
    uploaded = ivr.post("/api/v1/verify", form).json()
    address = f"http://127.0.0.1:{port}/api/v1/metrics"
    told = httpx.get(address, headers={"Authorization": f"Bearer {auditor.token}"}, timeout=PATIENCE).text
    for stage in ("round_trip", "waiting", "worker", "decode", "speech", "network", "replay", "screening"):
        assert f'voiceauth_stage_seconds_count{{question="verify_call",stage="{stage}"}}' in told
    apart = {"decision_id", "created_at"}
    assert {key: value for key, value in streamed.items() if key not in apart} == {
        key: value for key, value in uploaded.items() if key not in apart
    }


def test_the_answer_rests_on_as_much_speech_as_the_policy_asks_for(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    phone = dial(port, ivr.token).start(customer_id="ann")
    phone.play(SILENCE * 2)
    phone.play(CALL)
    answer = phone.hear("decision")
    content = (SILENCE * 2 + CALL)[: round(answer["audio_seconds"] * SECONDS)]
    speech = quality.measure(decode(content, format="mulaw")).speech_seconds
    assert speech >= 3.0
    assert answer["decision"]["speech_seconds"] == pytest.approx(speech, rel=1e-3)


def test_the_policy_sets_the_seconds_and_a_stop_decides_on_what_there_is(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    answer_when_calls_stop()
    samples = decode(CALL, format="mulaw").samples
    phone = dial(port, ivr.token).start("audio/x-slin", customer_id="ann")
    linear = (samples * 32768).astype("<i2").tobytes()
    for at in range(0, len(linear), 320):
        phone.socket.send(linear[at : at + 320])
    phone.say("stop")
    answer = phone.hear("decision")
    assert answer["audio_seconds"] == pytest.approx(len(samples) / 8000, abs=0.001)
    assert answer["decision"]["decision"] == "ACCEPT"
    assert phone.closed() == (1000, "")

    short = dial(port, ivr.token).start(customer_id="ann").play(CALL[: SECONDS // 2])
    short.say("stop")
    assert short.hear("decision")["decision"]["decision"] == "NOT_ENOUGH_SPEECH"
    assert Decision.objects.count() == len(decisions_made()) == 2


def test_a_platform_without_a_token_streams_by_a_ticket_which_works_once(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    given = ivr.post("/api/v1/streams", {"customer_id": "ann", "tier": "balance"}, format="json")
    assert given.status_code == 201
    made = given.json()
    assert made["path"] == "/api/v1/stream"
    where = f"/api/v1/streams/{made['stream_id']}"
    assert ivr.get(where).json()["state"] == "WAITING"

    phone = dial(port)
    phone.say("connected", protocol="Call", version="1.0.0")
    phone.start(ticket=made["ticket"])
    phone.hear("started")
    assert ivr.get(where).json()["state"] == "LISTENING"
    phone.play(STRANGER, track="outbound")  # what the caller hears
    phone.chunks = 0
    phone.play(CALL[:SECONDS])
    phone.chunks = 0
    phone.play(CALL[:SECONDS])  # sent again
    phone.say("mark", mark={"name": "greeting"})
    phone.say("dtmf", dtmf={"digit": "1"})
    phone.play(CALL[SECONDS:])
    answer = phone.hear("decision")["decision"]
    assert (answer["decision"], answer["tier"], answer["decision_id"]) == ("ACCEPT", "balance", made["stream_id"])
    found = ivr.get(where).json()
    assert (found["state"], found["decision"], found["error"]) == ("ANSWERED", answer, None)
    assert api_client("ivr").get(where).status_code == 404

    assert dial(port).start(ticket=made["ticket"]).refusal() == ("invalid_ticket", (4401, "invalid_ticket"))
    assert Decision.objects.count() == 1


def test_a_ticket_of_a_client_that_was_revoked_since_is_not_valid(dial: Dial, port: int, ivr: SignedIn) -> None:
    from voiceauth.platform.api.clients import revoke_client

    ticket = ivr.post("/api/v1/streams", {"customer_id": "ann"}, format="json").json()["ticket"]
    revoke_client(name=ivr.api_client.name, actor=SYSTEM)
    assert dial(port).start(ticket=ticket).refusal()[0] == "invalid_ticket"


def test_a_caller_cannot_tell_an_unknown_customer_from_a_refusal(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    told = []
    for claimed in ("ann", "nobody"):
        phone = dial(port, ivr.token).start(customer_id=claimed).play(STRANGER)
        told.append(phone.hear("decision")["decision"])
        assert phone.closed() == (1000, "")
    known, unknown = told
    assert (known["decision"], known["reasons"]) == (unknown["decision"], unknown["reasons"]) == ("REJECT", [])
    assert known.keys() == unknown.keys()
    assert list(Decision.objects.order_by("created_at").values_list("decision", flat=True)) == [
        "REJECT",
        "SPEAKER_NOT_ENROLLED",
    ]


def test_a_recording_that_was_accepted_before_is_a_replay_in_a_stream_too(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    answer_when_calls_stop()
    answers = []
    for _ in range(2):
        phone = dial(port, ivr.token).start(customer_id="ann").play(CALL)
        phone.say("stop")
        answers.append(phone.hear("decision")["decision"])
    assert [each["decision"] for each in answers] == ["ACCEPT", "REJECT"]
    assert answers[1]["reasons"] == ["REPLAY"]


def test_a_call_that_is_followed_is_compared_again_until_it_stops(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    phone = dial(port, ivr.token).start(customer_id="ann", follow_seconds="1.5").play(CALL)
    phone.hear("decision")
    phone.play(STRANGER)
    update = phone.hear("update")
    assert update["speech_seconds"] > 3 and not update["speaker_changed"]
    assert 0 <= update["probability"] <= 1 and update["log_likelihood_ratio"] is not None
    phone.play(STRANGER)
    phone.hear("update")
    phone.say("stop")
    assert phone.closed() == (1000, "")
    assert Decision.objects.count() == len(decisions_made()) == 1


def test_a_caller_who_hangs_up_leaves_no_decision_and_the_ivr_can_see_it(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    made = ivr.post("/api/v1/streams", {"customer_id": "ann"}, format="json").json()
    phone = dial(port).start(ticket=made["ticket"]).play(CALL[:SECONDS])
    phone.hear("started")
    phone.socket.socket.close()
    where = f"/api/v1/streams/{made['stream_id']}"
    until(lambda: ivr.get(where).json()["state"] == "FAILED")
    assert ivr.get(where).json()["error"]["code"] == "stream_broken"
    assert not Decision.objects.exists()
    until(AuditEvent.objects.filter(action="request.refused").exists)
    event = AuditEvent.objects.get(action="request.refused")
    assert (event.actor, event.customer_id, event.data["code"]) == ("a-ivr", "ann", "stream_broken")


def test_a_platform_that_says_stop_and_hangs_up_gets_a_decision_all_the_same(
    dial: Dial, port: int, enrolled: None, ivr: SignedIn
) -> None:
    made = ivr.post("/api/v1/streams", {"customer_id": "ann"}, format="json").json()
    phone = dial(port).start(ticket=made["ticket"]).play(CALL[:SECONDS])
    phone.say("stop")
    phone.socket.close()
    where = f"/api/v1/streams/{made['stream_id']}"
    until(lambda: ivr.get(where).json()["state"] == "ANSWERED")
    assert Decision.objects.count() == len(decisions_made()) == 1


def test_a_call_of_silence_is_told_so_when_it_stops(dial: Dial, port: int, enrolled: None, ivr: SignedIn) -> None:
    phone = dial(port, ivr.token).start(customer_id="ann").play(SILENCE * 3, size=4000)
    phone.say("stop")
    assert phone.refusal() == ("silent_audio", (4422, "silent_audio"))
    assert not Decision.objects.exists()


def test_a_worker_that_stalls_costs_time_and_no_decision_and_makes_no_second_one(
    dial: Dial, enrolled: None, ivr: SignedIn, scoring: Worker, tmp_path: Path
) -> None:
    with running_web(tmp_path, VOICEAUTH_SCORING_DEADLINE_SECONDS="5", VOICEAUTH_TRUSTED_PROXIES="1") as port:
        process = scoring.pool_process()
        process.send_signal(signal.SIGSTOP)
        try:
            phone = dial(port, ivr.token).start(customer_id="ann").play(CALL)
            until(lambda: list(worker_client.connection().scan_iter("question:*")))
            until(lambda: not list(worker_client.connection().scan_iter("question:*")))  # it has expired
        finally:
            process.send_signal(signal.SIGCONT)
        assert phone.hear("decision")["decision"]["decision"] == "ACCEPT"
    assert Decision.objects.count() == len(decisions_made()) == 1


def test_without_a_worker_the_stream_ends_and_says_when_to_try_again(
    dial: Dial, ivr: SignedIn, enrolled: None, scoring: Worker, tmp_path: Path
) -> None:
    process = scoring.pool_process()
    with running_web(tmp_path, VOICEAUTH_SCORING_DEADLINE_SECONDS="0.2") as port:
        process.send_signal(signal.SIGSTOP)
        try:
            phone = dial(port, ivr.token).start(customer_id="ann").play(CALL)
            error = phone.hear("error")["error"]
            assert (error["code"], error["data"]["retry_after_seconds"]) == ("scoring_unavailable", 2)
            assert phone.closed() == (4503, "scoring_unavailable")
        finally:
            process.send_signal(signal.SIGCONT)
    assert not Decision.objects.exists()


def test_a_handshake_with_a_wrong_token_role_or_path_is_an_error_like_any_other(port: int, teller: SignedIn) -> None:
    address = f"ws://127.0.0.1:{port}/api/v1"
    found = []
    for path, token in (("stream", "va_ivr_" + "x" * 43), ("stream", teller.token), ("streams", teller.token)):
        with (
            pytest.raises(InvalidStatus) as caught,
            connect(f"{address}/{path}", additional_headers={"Authorization": f"Bearer {token}"}),
        ):
            pass
        response = caught.value.response
        found.append((response.status_code, json.loads(response.body or b"")["error"]["code"]))
    assert found == [(401, "invalid_token"), (403, "permission_denied"), (404, "not_found")]


@pytest.mark.parametrize(
    ("parameters", "code", "status"),
    [
        ({}, "validation_error", 4400),
        ({"customer_id": "ann", "colour": "red"}, "validation_error", 4400),
        ({"customer_id": "ann", "follow_seconds": -1}, "validation_error", 4400),
        ({"customer_id": "ann", "tier": "yacht"}, "unknown_tier", 4422),
    ],
)
def test_a_start_that_cannot_be_carried_out_is_refused(
    dial: Dial, port: int, ivr: SignedIn, parameters: dict[str, Any], code: str, status: int
) -> None:
    assert dial(port, ivr.token).start(**parameters).refusal() == (code, (status, code))


def test_messages_at_the_wrong_time_are_refused(dial: Dial, port: int, ivr: SignedIn) -> None:
    refused = ("malformed_stream", (4400, "malformed_stream"))
    assert dial(port, ivr.token).play(b"\xff" * 160).refusal() == refused
    twice = dial(port, ivr.token).start(customer_id="ann")
    twice.hear("started")
    assert twice.start(customer_id="ann").refusal() == refused
    large = dial(port, ivr.token).start(customer_id="ann")
    large.hear("started")
    large.socket.send(bytes(70_000))
    assert large.refusal() == refused
    assert dial(port, ivr.token).start("audio/x-opus", customer_id="ann").refusal()[0] == "unsupported_media"


def test_a_client_streams_no_more_calls_than_its_rate_allows(dial: Dial, port: int) -> None:
    client = api_client("ivr", rate_limits={"calls": 1})
    first = dial(port, client.token).start(customer_id="ann")
    first.hear("started")
    assert dial(port, client.token).start(customer_id="ann").refusal() == ("throttled", (4429, "throttled"))


def test_more_streams_than_a_process_takes_are_sent_away(dial: Dial, ivr: SignedIn, tmp_path: Path) -> None:
    with running_web(tmp_path, VOICEAUTH_STREAMS="0") as port:
        phone = dial(port, ivr.token).start(customer_id="ann")
        assert phone.refusal() == ("too_many_streams", (4503, "too_many_streams"))


def test_a_stream_that_nobody_asked_for_is_not_found(ivr: SignedIn) -> None:
    assert ivr.get(f"/api/v1/streams/{uuid.uuid4()}").json()["error"]["code"] == "stream_not_found"
