"""Enrollment over HTTP."""

import uuid
from typing import Any

import numpy as np
import pytest
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment import keys, samples, selectors, services, voiceprints
from enrollment.models import AudioSample, Customer, SampleEmbedding, SealedAudio, Voiceprint
from mltraining.models import ModelVersion
from mltraining.speech.scoring.voiceprints import mean_voiceprint
from tests.support.clients import error_code, upload
from tests.support.customers import TELLER, consenting_customer, enrolled_customer
from tests.support.model import activate_model
from tests.support.stand_in import StandInWorker, embedding_of, recording
from voiceauth.platform import storage as audio_store
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.platform.errors import ScoringUnavailable

pytestmark = pytest.mark.django_db


def enroll(client: APIClient, customer_id: str, content: bytes, **headers: str) -> Response:
    return client.post(f"/api/v1/customers/{customer_id}/enrollments", {"audio": upload(content)}, **headers)


def test_an_accepted_recording_is_answered_with_its_quality_and_what_remains(
    teller: APIClient, worker: StandInWorker
) -> None:
    consenting_customer("ann")
    answer = enroll(teller, "ann", recording("ann", speech_seconds=12.5, snr_db=31.0))
    assert answer.status_code == 201
    said = answer.json()
    assert said["quality"] == {
        "duration_seconds": 40.0,
        "speech_seconds": 12.5,
        "snr_db": 31.0,
        "clipping_ratio": 0.0,
        "container": "wav",
        "codec": "pcm_s16le",
        "sample_rate": 8000,
        "channel": "",
        "truncated": False,
    }
    assert (said["state"], said["speech_seconds"], said["remaining_seconds"]) == ("ENROLLING", 12.5, 7.5)
    assert AudioSample.objects.get().pk == uuid.UUID(said["sample_id"])


def test_enough_net_speech_over_several_recordings_enrolls(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    states = [enroll(teller, "ann", recording("ann", take, speech_seconds=8.0)).json()["state"] for take in range(3)]
    assert states == ["ENROLLING", "ENROLLING", "ENROLLED"]
    ann = Customer.objects.get()
    assert ann.speech_seconds == 24.0 and ann.enrolled_at is not None and ann.last_accessed_at is not None


def test_the_recording_is_stored_sealed_and_comes_back_bit_by_bit(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    content = recording("ann")
    enroll(teller, "ann", content)
    assert content not in audio_store.read(SealedAudio.objects.get().content)
    assert selectors.sample_audio(AudioSample.objects.get()) == content


def test_the_voiceprint_is_the_mean_of_the_embeddings_weighed_by_net_speech(
    teller: APIClient, worker: StandInWorker
) -> None:
    model = activate_model()
    ann = consenting_customer("ann")
    for take, seconds in [(1, 5.0), (2, 20.0)]:
        enroll(teller, "ann", recording("ann", take, speech_seconds=seconds))
    embeddings = np.stack([embedding_of("ann", take, model.fingerprint) for take in (1, 2)])
    expected = mean_voiceprint(embeddings, np.array([5.0, 20.0], dtype=np.float32))
    voiceprint = voiceprints.voiceprint_of(ann, model.fingerprint)
    assert voiceprint is not None and np.allclose(voiceprint.vector, expected, atol=1e-6)
    assert voiceprint.speech_seconds == 25.0
    assert Voiceprint.objects.get().sample_count == 2


def test_enrollment_works_before_any_model_is_in_service(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    assert enroll(teller, "ann", recording("ann", speech_seconds=30.0)).json()["state"] == "ENROLLED"
    assert not SampleEmbedding.objects.exists() and not Voiceprint.objects.exists()


@pytest.mark.parametrize(
    ("measured", "code"),
    [
        ({"speech_seconds": 0.4}, "not_enough_speech"),
        ({"snr_db": 1.0}, "too_noisy"),
        ({"clipping_ratio": 0.3}, "clipped"),
    ],
)
def test_a_poor_recording_is_refused_with_its_report_and_nothing_is_stored(
    teller: APIClient, worker: StandInWorker, measured: dict[str, Any], code: str
) -> None:
    activate_model()
    consenting_customer("ann")
    answer = enroll(teller, "ann", recording("ann", **measured))
    assert (answer.status_code, error_code(answer)) == (422, code)
    report = answer.json()["error"]["data"]["report"]
    assert report | measured == report
    for model in (AudioSample, SealedAudio, SampleEmbedding, Voiceprint):
        assert not model.objects.exists()
    assert Customer.objects.get().state == "PENDING"
    event = AuditEvent.objects.get(outcome="refused")
    assert event.customer_id == "ann" and event.data["code"] == code
    assert event.data["report"] | measured == event.data["report"]


def test_the_same_recording_twice_is_refused(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    consenting_customer("bob")
    assert enroll(teller, "ann", recording("ann")).status_code == 201
    answer = enroll(teller, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (409, "duplicate_sample")
    assert enroll(teller, "bob", recording("ann")).status_code == 201  # of another customer nothing is revealed


def test_what_is_not_audio_is_refused(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    answer = enroll(teller, "ann", b"\x89PNG not a sound")
    assert (answer.status_code, error_code(answer)) == (415, "not_audio")
    assert not AudioSample.objects.exists()


def test_a_request_without_audio_is_refused(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    answer = teller.post("/api/v1/customers/ann/enrollments", {"sound": upload(recording("ann"))})
    assert (answer.status_code, error_code(answer)) == (400, "validation_error")
    assert set(answer.json()["error"]["data"]["fields"]) == {"sound"}
    assert worker.calls == []


def test_a_json_body_is_refused(teller: APIClient) -> None:
    consenting_customer("ann")
    answer = teller.post("/api/v1/customers/ann/enrollments", {"audio": "text"}, format="json")
    assert (answer.status_code, error_code(answer)) == (415, "unsupported_media_type")


def test_an_unknown_customer_is_not_found_before_any_audio_is_looked_at(
    teller: APIClient, worker: StandInWorker
) -> None:
    answer = enroll(teller, "nobody", b"junk")
    assert (answer.status_code, error_code(answer)) == (404, "customer_not_found")
    assert worker.calls == []


def test_a_locked_customer_is_refused(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    Customer.objects.update(state="LOCKED")
    answer = enroll(teller, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (409, "customer_locked")


def test_a_new_recording_renews_an_expired_customer(teller: APIClient, worker: StandInWorker) -> None:
    activate_model()
    enrolled_customer("ann")
    Customer.objects.update(state="EXPIRED")
    assert enroll(teller, "ann", recording("ann", take=9)).json()["state"] == "ENROLLED"


@pytest.mark.parametrize("role", ["ivr", "reviewer", "admin"])
def test_only_a_teller_enrolls(role: str, request: pytest.FixtureRequest, worker: StandInWorker) -> None:
    consenting_customer("ann")
    assert enroll(request.getfixturevalue(role), "ann", recording("ann")).status_code == 403
    assert worker.calls == []


def test_a_repeat_with_its_idempotency_key_is_enrolled_once(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    answers = [enroll(teller, "ann", recording("ann"), HTTP_IDEMPOTENCY_KEY="key-1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json() and AudioSample.objects.count() == 1


def test_without_a_scoring_worker_the_caller_is_told_when_to_try_again(
    teller: APIClient, worker: StandInWorker
) -> None:
    def lost() -> None:
        raise ScoringUnavailable(retry_after_seconds=2)

    worker.before_answer = lost
    consenting_customer("ann")
    answer = enroll(teller, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer), answer["Retry-After"]) == (503, "scoring_unavailable", "2")
    assert not AudioSample.objects.exists()


def test_a_withdrawal_while_the_recording_is_analysed_wins(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    worker.before_answer = lambda: services.withdraw_consent(
        customer_id="ann", purpose="voice_authentication", actor=TELLER
    )
    answer = enroll(teller, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (409, "opted_out")
    assert not AudioSample.objects.exists()


def test_a_promotion_while_the_recording_is_analysed_leads_to_the_new_models_embedding(
    teller: APIClient, worker: StandInWorker
) -> None:
    activate_model("first")
    consenting_customer("ann")

    def promote() -> None:
        worker.before_answer = None
        activate_model("second")

    worker.before_answer = promote
    assert enroll(teller, "ann", recording("ann")).status_code == 201
    second = ModelVersion.objects.get(version="second")
    assert [each.model_fingerprint for each in SampleEmbedding.objects.all()] == [second.fingerprint]
    assert worker.calls == ["enrollment.analyse_sample"] * 2


def test_a_model_that_keeps_changing_is_answered_with_503(teller: APIClient, worker: StandInWorker) -> None:
    names = iter(["second", "third"])
    activate_model("first")
    consenting_customer("ann")
    worker.before_answer = lambda: activate_model(next(names))
    answer = enroll(teller, "ann", recording("ann"))
    assert (answer.status_code, error_code(answer)) == (503, "model_switched")
    assert not AudioSample.objects.exists()


def test_the_samples_of_a_customer_are_listed_and_nobody_elses(teller: APIClient, worker: StandInWorker) -> None:
    for customer_id in ("ann", "bob"):
        consenting_customer(customer_id)
        enroll(teller, customer_id, recording(customer_id))
    page = teller.get("/api/v1/customers/ann/enrollments").json()
    own = AudioSample.objects.get(customer__customer_id="ann")
    assert [each["sample_id"] for each in page["results"]] == [str(own.pk)]
    assert teller.get("/api/v1/customers/nobody/enrollments").status_code == 404


def test_removing_a_sample_removes_its_speech_and_its_share_of_the_voiceprint(
    teller: APIClient, worker: StandInWorker
) -> None:
    model = activate_model()
    ann = consenting_customer("ann")
    first, second = (
        enroll(teller, "ann", recording("ann", take, speech_seconds=15.0)).json()["sample_id"] for take in (1, 2)
    )
    answer = teller.delete(f"/api/v1/customers/ann/enrollments/{first}")
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["remaining_seconds"]) == ("ENROLLING", 5.0)
    voiceprint = voiceprints.voiceprint_of(ann, model.fingerprint)
    assert voiceprint is not None
    assert np.allclose(voiceprint.vector, embedding_of("ann", 2, model.fingerprint), atol=1e-6)
    assert AuditEvent.objects.get(action="enrollment.sample_removed").target == f"sample:{first}"

    answer = teller.delete(f"/api/v1/customers/ann/enrollments/{second}")
    assert answer.json()["state"] == "PENDING" and not Voiceprint.objects.exists()


def test_another_customers_sample_cannot_be_removed(teller: APIClient, worker: StandInWorker) -> None:
    consenting_customer("ann")
    consenting_customer("bob")
    sample = enroll(teller, "ann", recording("ann")).json()["sample_id"]
    answer = teller.delete(f"/api/v1/customers/bob/enrollments/{sample}")
    assert (answer.status_code, error_code(answer)) == (404, "sample_not_found")
    assert AudioSample.objects.count() == 1


def test_a_locked_customer_stays_locked_when_a_sample_goes(worker: StandInWorker) -> None:
    ann = enrolled_customer("ann")
    services.lock_customer(customer_id="ann", reason="a test", actor=TELLER)
    sample = ann.samples.get()
    assert samples.remove_sample(customer_id="ann", sample_id=sample.pk, actor=TELLER).state == "LOCKED"


def test_a_stored_embedding_replaces_the_one_before(worker: StandInWorker) -> None:
    model = activate_model()
    ann = enrolled_customer("ann")
    sample = ann.samples.get()
    voiceprints.store_embedding(sample, model.fingerprint, np.ones(4))
    row = SampleEmbedding.objects.get()
    vector = keys.unseal_embedding(ann, sample.pk, model.fingerprint, row.content)
    assert np.array_equal(vector, np.ones(4))
