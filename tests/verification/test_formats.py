"""Which formats are read: samples without a header by a field of the form, and a list for whoever sends another."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import selectors
from enrollment.models import AudioSample, HeardRecording
from mltraining.speech.audio import containers, decoding
from mltraining.speech.audio.decoding import decode
from tests.support.audio import demo_voice, encode
from tests.support.batches import carried_out, line, put, results, submitted
from tests.support.clients import error_code, upload
from tests.support.customers import consenting_customer
from voiceauth.demo import voices
from voiceauth.platform.api import uploads

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_audio_model")]
CUSTOMER = decode(demo_voice(0)).samples
NAMES = ("mulaw", "alaw", "s16le", "s16be-16000", "g722")
RAW = {name: encode(CUSTOMER, name, source_rate=voices.RATE) for name in NAMES}


def enroll(client: APIClient, audio: bytes, **fields: Any) -> Response:
    return client.post("/api/v1/customers/ann/enrollments", {"audio": upload(audio), **fields})


def test_samples_without_a_header_are_enrolled_and_verified_where_the_form_names_them(
    teller: APIClient, ivr: APIClient
) -> None:
    consenting_customer("ann")
    answer = enroll(teller, RAW["mulaw"], format="mulaw").json()
    assert (answer["state"], answer["quality"]["codec"]) == ("ENROLLED", "pcm_mulaw"), answer
    kept = decode(selectors.sample_audio(AudioSample.objects.get()))  # which tells its format itself
    assert (kept.container, kept.sample_rate) == ("wav", 8000)
    assert np.array_equal(kept.samples, decode(RAW["mulaw"], format="mulaw").samples)
    for name, audio in RAW.items():
        HeardRecording.objects.all().delete()
        call = {"customer_id": "ann", "audio": upload(audio), "format": name}
        assert (name, ivr.post("/api/v1/verify", call).json()["decision"]) == (name, "ACCEPT")
    found = ivr.post("/api/v1/identify", {"audio": upload(RAW["alaw"]), "format": "alaw"}).json()
    assert (found["decision"], found["match"]) == ("MATCH", "ann")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("audio/basic", "mulaw"),
        ("audio/PCMU", "mulaw"),
        ("audio/PCMA", "alaw"),
        ("audio/G722", "g722"),
        ("audio/L16; rate=16000; channels=1", "s16be-16000"),
    ],
)
def test_the_content_type_of_the_file_names_its_format_where_no_field_does(
    teller: APIClient, kind: str, name: str
) -> None:
    consenting_customer("ann")
    audio = SimpleUploadedFile("call", RAW[name], content_type=kind)
    answer = teller.post("/api/v1/customers/ann/enrollments", {"audio": audio}).json()
    assert answer["quality"]["duration_seconds"] == pytest.approx(len(CUSTOMER) / voices.RATE, abs=0.01), answer


@pytest.mark.parametrize(
    ("audio", "fields", "codec"),
    [(RAW["alaw"], {"format": "alaw"}, "pcm_alaw"), (demo_voice(0), {}, "pcm_s16le")],
)
def test_a_field_comes_before_the_content_type_and_a_header_before_both(
    teller: APIClient, audio: bytes, fields: dict[str, str], codec: str
) -> None:
    consenting_customer("ann")
    file = SimpleUploadedFile("call", audio, content_type="audio/basic")
    answer = teller.post("/api/v1/customers/ann/enrollments", {"audio": file, **fields}).json()
    assert answer["quality"]["codec"] == codec


@pytest.mark.parametrize("kind", ["audio/L16; rate=8000; channels=2", "audio/L16; rate=44100", "audio/L16", "a/b"])
def test_a_content_type_that_names_no_format_leaves_the_recording_unread(ivr: APIClient, kind: str) -> None:
    refused = ivr.post("/api/v1/identify", {"audio": SimpleUploadedFile("call", RAW["mulaw"], content_type=kind)})
    assert (refused.status_code, error_code(refused)) == (415, "not_audio")


def test_a_recording_that_lacks_its_end_is_judged_and_said_to_be_truncated(teller: APIClient, ivr: APIClient) -> None:
    consenting_customer("ann")
    whole, other = encode(CUSTOMER, "wav", source_rate=voices.RATE), demo_voice(0, 1)
    assert enroll(teller, whole).json()["quality"]["truncated"] is False
    answer = ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(other[: int(0.9 * len(other))])}).json()
    assert (answer["truncated"], answer["decision"] in ("ACCEPT", "REJECT")) == (True, True)
    refused = ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(other[: len(other) // 2])})
    assert (refused.status_code, error_code(refused)) == (422, "truncated_audio")


def test_a_file_with_a_header_is_read_by_it_whatever_the_form_says(teller: APIClient) -> None:
    consenting_customer("ann")
    answer = enroll(teller, demo_voice(0), format="mulaw").json()
    assert answer["quality"]["codec"] == "pcm_s16le"


def test_a_batch_names_the_format_of_its_recordings(storage: Path) -> None:
    location = put(storage, "ann.ulaw", RAW["mulaw"])
    batch = carried_out(submitted(line("ann", location, format="mulaw")))
    assert results(batch) == [("ann", "ENROLLED", "")]


def test_an_unknown_format_is_refused_with_those_that_are_known(ivr: APIClient) -> None:
    refused = ivr.post("/api/v1/identify", {"audio": upload(RAW["mulaw"]), "format": "opus"})
    assert (refused.status_code, error_code(refused)) == (400, "validation_error")
    assert all(name in str(refused.json()["error"]["data"]["fields"]["format"]) for name in uploads.FORMATS)


@pytest.mark.parametrize("data", [b"%PDF-1.7\n" + bytes(500), b"hello " * 200, RAW["mulaw"], RAW["g722"]])
def test_what_is_not_read_is_told_what_is(ivr: APIClient, data: bytes) -> None:
    refused = ivr.post("/api/v1/identify", {"audio": upload(data)})
    assert (refused.status_code, error_code(refused)) == (415, "not_audio")
    error = refused.json()["error"]
    assert error["data"] == {"formats": list(containers.NAMES), "headerless": list(decoding.HEADERLESS)}
    assert all(name in error["message"] for name in (*containers.NAMES, *decoding.HEADERLESS))


def test_the_form_the_decoder_and_the_documentation_name_the_same_formats() -> None:
    assert list(uploads.FORMATS) == list(decoding.HEADERLESS)
    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
    section = text[text.index("\n## Recordings") : text.index("\n## Customers")]
    assert all(f"`{name}`" in section for name in decoding.HEADERLESS)
    assert [name for name in containers.NAMES if not re.search(rf"\b{name}\b", section, re.IGNORECASE)] == []
