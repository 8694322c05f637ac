"""The main job over HTTP with a real worker process, a real queue, a real network and real audio bytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.response import Response
from rest_framework.test import APIClient

from enrollment.models import AudioSample, Customer, HeardRecording, Voiceprint
from mltraining import calibrations
from mltraining.models import ModelVersion
from mltraining.speech.scoring.calibration import Calibration
from mltraining.speech.scoring.quality_measures import QualityMeasures
from tests.support import evidence
from tests.support.audio import demo_voice, encode, voice, wav
from tests.support.clients import error_code, upload
from tests.support.customers import consenting_customer
from tests.support.model import leave_voices_together, put_into_service, register_untrained
from tests.support.workers import Worker, running_worker
from voiceauth.demo import voices
from voiceauth.platform.audit import SYSTEM, chain
from voiceauth.screening.models import ReviewCase
from voiceauth.verification.models import CallAudio, Decision

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = demo_voice(0), demo_voice(1)  # about five seconds of net speech each


@pytest.fixture
def model(tmp_path: Path, settings: Settings) -> ModelVersion:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 3
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = 30  # the machine that tests may be busy
    settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 30
    model = register_untrained(tmp_path, apart=(ANN, BOB))
    put_into_service(model)
    leave_voices_together()
    return model


@pytest.fixture
def worker_process(model: ModelVersion, tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path / "scoring.log", "scoring") as worker:
        yield worker


def post_audio(client: APIClient, path: str, audio: bytes, **fields: Any) -> Response:
    return client.post(f"/api/v1/{path}", {"audio": upload(audio), **fields})


def test_enroll_verify_identify_and_erase(
    teller: APIClient, ivr: APIClient, model: ModelVersion, worker_process: Worker
) -> None:
    for customer_id, audio in (("ann", ANN), ("bob", BOB)):
        consenting_customer(customer_id)
        enrolled = post_audio(teller, f"customers/{customer_id}/enrollments", audio)
        assert enrolled.status_code == 201, enrolled.json()
        said = enrolled.json()
        assert (said["state"], said["quality"]["sample_rate"]) == ("ENROLLED", voices.RATE)
        assert 3 < said["quality"]["speech_seconds"] < said["quality"]["duration_seconds"]
    assert Voiceprint.objects.filter(model_fingerprint=model.fingerprint).count() == 2

    HeardRecording.objects.all().delete()  # the small model knows these recordings alone
    own = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    assert (own["decision"], own["model"]["version"]) == ("ACCEPT", model.version)
    assert own["model"]["calibration_version"] == model.calibration_version
    other = post_audio(ivr, "verify", BOB, customer_id="ann").json()
    assert other["decision"] == "REJECT" and other["log_likelihood_ratio"] < 0 < own["log_likelihood_ratio"]
    found = post_audio(ivr, "identify", BOB).json()
    assert (found["decision"], found["match"]) == ("MATCH", "bob")
    row = next(each for each in found["results"] if each["customer_id"] == "ann")
    assert row["probability"] == pytest.approx(other["probability"], rel=0.005)  # verify and identify agree

    again = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    assert again["probability"] == own["probability"]  # the same call, the same score
    assert (again["decision"], again["reasons"]) == ("REJECT", ["REPLAY"])
    assert again["fraud_risk"]["level"] == "HIGH_RISK"
    assert ReviewCase.objects.get(kind="REPLAY").customer_id == "ann"

    erased = teller.delete("/api/v1/customers/bob").json()
    counts = erased["counts"]
    assert (counts["samples"], counts["voiceprints"], counts["call_recordings"]) == (1, 1, 0)
    assert [each["customer_id"] for each in post_audio(ivr, "identify", BOB).json()["results"]] == ["ann"]
    assert CallAudio.objects.count() == 3 and Decision.objects.count() == 5
    assert chain.verify().intact


def test_a_running_worker_takes_up_a_new_calibration(
    teller: APIClient, ivr: APIClient, model: ModelVersion, worker_process: Worker
) -> None:
    consenting_customer("ann")
    assert post_audio(teller, "customers/ann/enrollments", ANN).status_code == 201
    HeardRecording.objects.all().delete()
    before = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    strict = Calibration.of(10.0, -11.0, 0.5, (0.0, 0.1, 0.2), ((0.01, 5.0),))
    calibrations.put_into_force(
        version=model.version, parameters=strict.to_dict(), measured_on=evidence.ENOUGH, actor=SYSTEM
    )
    after = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    assert (before["decision"], after["decision"]) == ("ACCEPT", "REJECT")
    assert after["model"]["calibration_version"] == strict.version
    assert after["threshold"] == pytest.approx(1 / (1 + np.exp(-5.0)), abs=1e-6)
    kept = Decision.objects.get(pk=after["decision_id"])
    assert kept.calibration_version == strict.version
    assert kept.enrollment_speech_seconds == Voiceprint.objects.get().speech_seconds
    assert kept.score is not None and kept.speech_seconds is not None and kept.snr_db is not None
    conditions = QualityMeasures(kept.speech_seconds, kept.enrollment_speech_seconds, kept.snr_db)
    assert kept.log_likelihood_ratio == pytest.approx(strict.log_likelihood_ratio(kept.score, conditions))
    again = post_audio(ivr, "identify", ANN).json()["results"][0]
    assert again["log_likelihood_ratio"] == pytest.approx(after["log_likelihood_ratio"], rel=1e-3)


def test_bad_bytes_of_every_kind_get_their_own_answer_and_leave_nothing(
    teller: APIClient, ivr: APIClient, worker_process: Worker
) -> None:
    consenting_customer("ann")
    assert post_audio(teller, "customers/ann/enrollments", ANN).status_code == 201
    silence = wav(np.zeros(16_000 * 5, dtype=np.float32))
    not_finite = encode(np.full(16_000, np.nan, dtype=np.float32), "wav_float")
    long = encode(np.tile(voice(0, seconds=10), 13), "ogg_opus")
    refused = {
        "empty_audio": (b"", 422),
        "not_audio": (b"%PDF-1.7 " + bytes(range(256)) * 40, 415),
        "silent_audio": (silence, 422),
        "invalid_samples": (not_finite, 422),
        "audio_too_long": (long, 413),
    }
    before = Decision.objects.count(), CallAudio.objects.count(), AudioSample.objects.count()
    for code, (audio, status) in refused.items():
        answers = [
            post_audio(ivr, "verify", audio, customer_id="ann"),
            post_audio(ivr, "identify", audio),
            post_audio(teller, "customers/ann/enrollments", audio),
        ]
        assert [(each.status_code, error_code(each)) for each in answers] == [(status, code)] * 3
    assert before == (Decision.objects.count(), CallAudio.objects.count(), AudioSample.objects.count())

    short = post_audio(ivr, "verify", wav(voice(0, seconds=0.8)), customer_id="ann")
    assert (short.status_code, short.json()["decision"]) == (200, "NOT_ENOUGH_SPEECH")


def test_without_a_worker_the_caller_is_told_to_try_again(
    teller: APIClient, ivr: APIClient, model: ModelVersion, settings: Settings
) -> None:
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 0.5
    consenting_customer("ann")
    Customer.objects.update(state=Customer.State.ENROLLED)
    for answer in (
        post_audio(ivr, "verify", ANN, customer_id="ann"),
        post_audio(ivr, "identify", ANN),
        post_audio(teller, "customers/ann/enrollments", ANN),
    ):
        assert (answer.status_code, error_code(answer)) == (503, "scoring_unavailable")
        assert int(answer["Retry-After"]) >= 1
    assert not Decision.objects.exists() and not AudioSample.objects.exists()


def test_trials_are_scored_under_the_model_in_service_and_create_nobody(tmp_path: Path, model: ModelVersion) -> None:
    table = score_trials(tmp_path)
    assert list(table) == ["speaker", "audio", "score", "probability", "decision", "reason"]
    assert list(table["decision"]) == ["ACCEPT", "REJECT", "NOT_ENOUGH_SPEECH", "ERROR"]
    assert table["score"].notna().tolist() == [True, True, True, False]  # whatever the decision
    assert table["reason"].fillna("").tolist() == ["", "", "", "not_audio"]
    assert not Customer.objects.exists() and not Decision.objects.exists()


def test_trials_can_be_scored_under_a_named_model_that_is_not_in_service(tmp_path: Path, model: ModelVersion) -> None:
    ModelVersion.objects.update(state=ModelVersion.State.RETIRED)
    with pytest.raises(CommandError, match="No model is in service"):
        score_trials(tmp_path)
    with pytest.raises(CommandError, match="no registered model 'none'"):
        score_trials(tmp_path, model="none")
    assert len(score_trials(tmp_path, model=model.version)) == 4


def test_a_table_without_its_columns_is_refused_by_name(tmp_path: Path, model: ModelVersion) -> None:
    (tmp_path / "wrong.csv").write_text("who,audio\nann,a.wav\n")
    with pytest.raises(CommandError, match=r"wrong\.csv lacks the column speaker"):
        score_trials(tmp_path, trials=tmp_path / "wrong.csv")


def score_trials(folder: Path, **options: Any) -> Any:
    import pandas as pd

    for name, audio in {
        "ann.wav": ANN,
        "bob.wav": BOB,
        "short.wav": wav(voice(0, seconds=0.8)),
        "junk.wav": b"no sound",
    }.items():
        (folder / name).write_bytes(audio)
    (folder / "enrollment.csv").write_text("speaker,audio\nann,ann.wav\n")
    (folder / "trials.csv").write_text(
        "speaker,audio,target\nann,ann.wav,1\nann,bob.wav,0\nann,short.wav,0\nann,junk.wav,0\n"
    )
    given = {"enrollment": folder / "enrollment.csv", "trials": folder / "trials.csv", "audio_root": folder}
    call_command("score_trials", **{**given, "output": folder / "scores.csv", **options})
    return pd.read_csv(folder / "scores.csv")
