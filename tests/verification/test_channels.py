"""Defect 10: a call with the agent on one channel and the customer on the other, as real bytes through real code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import selectors
from enrollment.models import AudioSample, HeardRecording
from mltraining.speech.audio.decoding import decode
from tests.support.audio import demo_voice, wav
from tests.support.batches import carried_out, line, put, results, submitted
from tests.support.clients import api_client, error_code, upload
from tests.support.customers import consenting_customer
from voiceauth.demo import voices
from voiceauth.platform import storage as audio_store
from voiceauth.policies.models import PolicyVersion
from voiceauth.screening import keys
from voiceauth.screening import selectors as watchlists
from voiceauth.screening.models import Fraudster
from voiceauth.verification import selectors as calls
from voiceauth.verification.models import CallAudio, Decision

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_audio_model")]
CUSTOMER, AGENT = (decode(demo_voice(number)).samples for number in (0, 1))
LENGTH = min(len(CUSTOMER), len(AGENT))
STEREO = wav(np.stack([AGENT[:LENGTH], CUSTOMER[:LENGTH]]), voices.RATE)


@pytest.fixture
def ann(teller: APIClient) -> str:
    """Enrolled from a recording of her voice alone."""
    consenting_customer("ann")
    answer = enroll(teller, wav(CUSTOMER, voices.RATE))
    assert answer.json()["state"] == "ENROLLED", answer.json()
    HeardRecording.objects.all().delete()  # the small model knows these recordings alone: no replays, then
    return "ann"


def enroll(client: APIClient, audio: bytes, **fields: Any) -> Response:
    return client.post("/api/v1/customers/ann/enrollments", {"audio": upload(audio), **fields})


def verify(client: APIClient, audio: bytes, **fields: Any) -> Response:
    return client.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(audio), **fields})


def test_the_genuine_customer_is_accepted_by_their_own_channel(ivr: APIClient, ann: str) -> None:
    own = verify(ivr, STEREO, channel="right").json()
    HeardRecording.objects.all().delete()
    mixed, agent = (verify(ivr, STEREO, channel=channel).json() for channel in ("mono", "left"))
    assert (own["decision"], agent["decision"]) == ("ACCEPT", "REJECT")
    assert mixed["probability"] < own["probability"]  # what mixing in silence did to her
    assert Decision.objects.get(pk=own["decision_id"]).channel == "right"


def test_a_call_with_channels_that_differ_is_not_decided_without_one(ivr: APIClient, ann: str) -> None:
    for refused in (verify(ivr, STEREO), ivr.post("/api/v1/identify", {"audio": upload(STEREO)})):
        assert (refused.status_code, error_code(refused)) == (422, "channel_required")
        agent, customer = refused.json()["error"]["data"]["channels"]
        assert (agent["channel"], customer["channel"]) == (0, 1)
        assert agent["speech_seconds"] > 1 and customer["speech_seconds"] > 1
        assert -60 < agent["level_dbfs"] < 0
    assert not Decision.objects.exists()


def test_an_identification_hears_the_named_channel(ivr: APIClient, ann: str) -> None:
    found = ivr.post("/api/v1/identify", {"audio": upload(STEREO), "channel": "1"}).json()
    assert (found["decision"], found["match"]) == ("MATCH", "ann")


def test_the_policy_names_a_default_by_api_client(ivr: APIClient, ann: str) -> None:
    content = PolicyVersion.objects.get().content | {"channels": {"a-ivr": "right", "elsewhere": "left"}}
    PolicyVersion.objects.create(number=2, content=content, reason="stereo recorder")
    assert verify(ivr, STEREO).json()["decision"] == "ACCEPT"
    HeardRecording.objects.all().delete()
    assert verify(ivr, STEREO, channel="left").json()["decision"] == "REJECT"
    assert verify(ivr, wav(AGENT, voices.RATE)).json()["decision"] == "REJECT"  # mono: there is nothing to choose
    assert error_code(verify(api_client("ivr"), STEREO)) == "channel_required"  # another client


def test_only_the_customers_channel_is_enrolled_kept_and_embedded_again(teller: APIClient, ivr: APIClient) -> None:
    consenting_customer("ann")
    assert error_code(enroll(teller, STEREO)) == "channel_required"
    assert not AudioSample.objects.exists()
    enrolled = enroll(teller, STEREO, channel="right").json()
    assert (enrolled["state"], enrolled["quality"]["channel"]) == ("ENROLLED", "right")
    kept = decode(selectors.sample_audio(AudioSample.objects.get()))
    assert kept.channels == 1 and np.abs(kept.samples - CUSTOMER[:LENGTH]).max() < 1e-3
    assert error_code(enroll(teller, STEREO, channel="right")) == "duplicate_sample"

    HeardRecording.objects.all().delete()
    assert verify(ivr, STEREO, channel="right").json()["decision"] == "ACCEPT"
    call = decode(calls.call_audio(CallAudio.objects.get()))
    assert call.channels == 1 and np.abs(call.samples - CUSTOMER[:LENGTH]).max() < 1e-3


def test_dual_mono_needs_no_channel_and_is_kept_as_it_came(teller: APIClient) -> None:
    consenting_customer("ann")
    dual = wav(np.stack([CUSTOMER, -0.5 * CUSTOMER]), voices.RATE)
    assert enroll(teller, dual).json()["state"] == "ENROLLED"
    sample = AudioSample.objects.get()
    assert (selectors.sample_audio(sample), sample.channel) == (dual, "")


def test_a_fraudster_is_the_named_channels_voice(admin: APIClient) -> None:
    path = f"/api/v1/watchlists/{watchlists.default_watchlist().pk}/fraudsters"
    reviewer = api_client("reviewer")
    assert error_code(reviewer.post(path, {"audio": upload(STEREO)})) == "channel_required"
    added = reviewer.post(path, {"audio": upload(STEREO), "channel": "right"})
    assert added.status_code == 201, added.json()
    fraudster = Fraudster.objects.select_related("audio").get()
    kept = decode(keys.unseal_audio(fraudster, audio_store.read(fraudster.audio.content)))
    assert kept.channels == 1 and np.abs(kept.samples - CUSTOMER[:LENGTH]).max() < 1e-3
    refused = reviewer.post(path, {"fraudster_id": str(fraudster.pk), "channel": "right"})
    assert (refused.status_code, error_code(refused)) == (400, "validation_error")


@pytest.mark.parametrize(("channel", "status", "code"), [("8", 400, "validation_error"), ("2", 422, "no_such_channel")])
def test_a_channel_that_is_no_name_or_is_not_there_is_refused(
    ivr: APIClient, ann: str, channel: str, status: int, code: str
) -> None:
    refused = verify(ivr, STEREO, channel=channel)
    assert (refused.status_code, error_code(refused)) == (status, code)


def test_a_batch_names_the_channel_of_a_customers_recordings(storage: Path) -> None:
    location = put(storage, "ann/call.wav", STEREO)
    named, unnamed = line("ann", location, channel="right"), line("bob", location)
    batch = carried_out(submitted(named, unnamed, line("eve", location, channel="both")))
    assert results(batch) == [
        ("ann", "ENROLLED", ""),
        ("bob", "FAILED", "channel_required"),
        ("eve", "FAILED", "invalid_line"),
    ]
    assert AudioSample.objects.get().channel == "right"
    again = carried_out(submitted(named, existing="OVERWRITE"))  # knows the upload again
    assert results(again)[0][1] == "ENROLLED" and AudioSample.objects.count() == 1
