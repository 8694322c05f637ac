"""An encoder from elsewhere, from its ONNX file into service and out again, with the real parts of the service."""

import csv
import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from enrollment.models import HeardRecording, Voiceprint
from mltraining import registry
from mltraining.models import Calibration, ModelVersion
from mltraining.speech import cli
from tests.support.audio import voice, wav
from tests.support.clients import error_code, upload
from tests.support.customers import consenting_customer
from tests.support.foreign import BANDS, DESCRIPTION, EXAMPLE, MEL, Random, onnx_of, statistics
from tests.support.model import export_untrained, leave_voices_together, register_untrained
from tests.support.waiting import until
from tests.support.workers import Worker, running_worker
from voiceauth.platform.audit import chain
from voiceauth.platform.audit.models import AuditEvent

ANN, BOB = (wav(voice(speaker, seconds=6)) for speaker in (25, 23))
FRONT_END = DESCRIPTION | {
    "speech_only": True,
    "signal": {"level_dbfs": -30},
    "features": MEL | {"kind": "mfcc", "cepstra": BANDS},
}
SECONDS = (4, 1.5, 3, 6)  # of the takes: a calibration weighs how long they are
SPEAKERS = 11  # 3 takes each against all: 33 target and 330 impostor trials, enough for a false-accept rate of 1 %


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, settings: Settings) -> Path:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    settings.VOICEAUTH_MIN_ENROLLMENT_SPEECH_SECONDS = 3
    settings.VOICEAUTH_SCORING_DEADLINE_SECONDS = 120  # the machine that tests may be busy
    settings.VOICEAUTH_ENROLLMENT_DEADLINE_SECONDS = 120
    return tmp_path / "models"


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    return import_encoder(tmp_path, statistics())


def import_encoder(folder: Path, model: bytes) -> Path:
    (folder / "model.onnx").write_bytes(model)
    (folder / "front_end.yaml").write_text(yaml.safe_dump(FRONT_END))
    (folder / "LICENSE").write_text("As you <like>.")
    paths = [str(folder / name) for name in ("model.onnx", "front_end.yaml", "imported")]
    about = ["--name", "Small", "--origin", "made in a test", "--licence", "MIT"]
    about += ["--licence-file", str(folder / "LICENSE"), "--centre-on", str(trials(folder / "speech") / "audio")]
    assert cli.main(["import-encoder", *paths, *about]) == 0
    return folder / "imported"


def trials(folder: Path) -> Path:
    """A folder of speech: of each speaker one recording to enroll with, and three that claim to be everybody."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[list[Any]]] = {
        "enrollment.csv": [["speaker", "audio"]],
        "trials.csv": [["speaker", "audio", "target"]],
    }
    for speaker in range(SPEAKERS):
        for take in range(4):
            name = f"{speaker}-{take}.wav"
            samples = voice(speaker, seconds=SECONDS[take], sample_rate=8000, take=take)
            (folder / "audio" / name).write_bytes(wav(samples, 8000))
            if take == 0:
                rows["enrollment.csv"].append([f"s{speaker}", name])
            else:
                rows["trials.csv"] += [[f"s{other}", name, int(other == speaker)] for other in range(SPEAKERS)]
    for name, lines in rows.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder


def import_model(folder: Path) -> ModelVersion:
    output = StringIO()
    call_command("import_model", str(folder), stdout=output)
    return ModelVersion.objects.get(pk=output.getvalue().strip())


@pytest.fixture
def worker_process(tmp_path: Path) -> Iterator[Worker]:
    with running_worker(tmp_path / "worker.log", "scoring,training") as worker:
        yield worker


def post_audio(client: APIClient, path: str, audio: bytes, **fields: Any) -> Any:
    HeardRecording.objects.all().delete()  # small models know these recordings alone
    return client.post(f"/api/v1/{path}", {"audio": upload(audio), **fields})


def promote(admin: APIClient, model: ModelVersion) -> None:
    answer = admin.post(f"/api/v1/models/{model.pk}/promote")
    assert answer.status_code == 202, answer.json()
    assert until(lambda: state(model) in ("ACTIVE", "CANDIDATE") and state(model)) == "ACTIVE"


def state(model: ModelVersion) -> str:
    model.refresh_from_db()
    return model.state


@pytest.mark.django_db(transaction=True)
def test_an_imported_encoder_is_calibrated_promoted_decides_and_is_rolled_back(
    teller: APIClient, ivr: APIClient, admin: APIClient, imported: Path, tmp_path: Path, worker_process: Worker
) -> None:
    own = register_untrained(tmp_path, apart=(ANN, BOB))
    registry.put_first_in_service(own.version)
    leave_voices_together()
    for customer_id, audio in (("ann", ANN), ("bob", BOB)):
        consenting_customer(customer_id)
        assert post_audio(teller, f"customers/{customer_id}/enrollments", audio).status_code == 201

    model = import_model(imported)
    answer = admin.get(f"/api/v1/models/{model.pk}").json()
    assert (answer["state"], answer["fingerprint"]) == ("CANDIDATE", model.fingerprint)
    assert answer["imported"] == {
        "name": "Small",
        "origin": "made in a test",
        "licence": "MIT",
        "licence_text": "As you <like>.",
        "opset": 17,
        "centred": True,
    }
    assert answer["config"]["features"]["kind"] == "mfcc"
    assert admin.get(f"/api/v1/models/{own.pk}").json()["imported"] is None
    refused = admin.post(f"/api/v1/models/{model.pk}/promote")
    assert (refused.status_code, error_code(refused)) == (409, "not_enough_evidence")
    missing = {each["code"] for each in refused.json()["error"]["data"]["evidence"]["missing"]}
    assert missing == {"too_few_impostor_trials", "too_few_target_trials", "too_few_speakers", "no_threshold"}

    speech = tmp_path / "speech"
    tables = {"enrollment": speech / "enrollment.csv", "trials": speech / "trials.csv", "audio_root": speech / "audio"}
    call_command("calibrate", model.pk, target_far=0.01, strangers=True, **tables, stdout=StringIO())
    calibration = Calibration.objects.get(model=model, active=True)
    assert (calibration.target_trials, calibration.impostor_trials) == (33, 330)
    assert calibration.parameters["slope"] > 0

    promote(admin, model)
    assert state(own) == "RETIRED"
    prints = Voiceprint.objects.filter(model_fingerprint=model.fingerprint)
    assert set(prints.values_list("customer__customer_id", flat=True)) == {"ann", "bob"}
    accepted = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    assert (accepted["decision"], accepted["model"]["version"]) == ("ACCEPT", model.pk), accepted
    assert accepted["model"]["fingerprint"] == model.fingerprint
    stranger = post_audio(ivr, "verify", BOB, customer_id="ann").json()
    assert (stranger["decision"], stranger["model"]["version"]) == ("REJECT", model.pk)
    assert post_audio(ivr, "identify", BOB).json()["results"][0]["customer_id"] == "bob"

    promote(admin, own)
    assert state(model) == "RETIRED"
    back = post_audio(ivr, "verify", ANN, customer_id="ann").json()
    assert (back["decision"], back["model"]["version"]) == ("ACCEPT", own.pk)
    said = AuditEvent.objects.get(action="model.registered", target=f"model:{model.pk}")
    assert said.data["imported"] == {key: text for key, text in answer["imported"].items() if key != "licence_text"}
    assert chain.verify().intact


@pytest.mark.django_db
def test_an_imported_model_keeps_every_file_that_it_embeds_with(imported: Path, models_folder: Path) -> None:
    model = import_model(imported)
    kept = sorted(path.name for path in (models_folder / model.pk).iterdir())
    assert kept == ["centre.safetensors", "charts", "encoder.onnx", "pipeline.json"]
    assert (models_folder / model.pk / "encoder.onnx").read_bytes() == statistics()


@pytest.mark.django_db
def test_the_same_encoder_is_not_registered_twice(imported: Path, models_folder: Path) -> None:
    model = import_model(imported)
    with pytest.raises(CommandError, match=f"model_unchanged: the model is registered already: {model.pk}"):
        import_model(imported)
    assert [path.name for path in models_folder.iterdir()] == [model.pk]


@pytest.mark.django_db
def test_a_model_that_was_trained_on_another_machine_comes_in_by_the_same_door(tmp_path: Path) -> None:
    model = import_model(export_untrained(tmp_path / "trained", seed=0))
    assert (model.state, model.imported) == ("CANDIDATE", None)
    assert model.config["architecture"]["backbone"]


@pytest.mark.django_db
def test_a_folder_that_cannot_serve_is_refused_by_its_code(imported: Path, tmp_path: Path, models_folder: Path) -> None:
    with pytest.raises(CommandError, match="invalid_pipeline: .* is missing"):
        import_model(tmp_path)
    changed = Path(shutil.copytree(imported, tmp_path / "changed"))
    (changed / "encoder.onnx").write_bytes(statistics(seed=1))
    with pytest.raises(CommandError, match="invalid_pipeline: .* fingerprint"):
        import_model(changed)
    assert not models_folder.exists() and not ModelVersion.objects.exists()


@pytest.mark.django_db
def test_an_encoder_that_was_put_into_a_folder_by_hand_is_tried_again(imported: Path, models_folder: Path) -> None:
    from mltraining.speech.scoring import imported as imports

    content = onnx_of(Random(), EXAMPLE)
    described = json.loads((imported / "pipeline.json").read_text())
    description = imports.Description.from_dict(described["config"])
    (imported / "encoder.onnx").write_bytes(content)
    described["fingerprint"] = imports.fingerprint_of(content, description, None)
    described["imported"]["centred"] = False
    (imported / "pipeline.json").write_text(json.dumps(described))
    with pytest.raises(CommandError, match="not_deterministic: "):
        import_model(imported)
    assert not models_folder.exists()
