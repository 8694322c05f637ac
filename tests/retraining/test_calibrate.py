"""``manage.py calibrate`` on real audio, and on decisions that the service made."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from mltraining import calibrations, registry, scorer
from mltraining.models import Calibration, ModelVersion
from mltraining.speech.evaluation.trials import ScoredTrials
from mltraining.speech.scoring import calibration as scoring
from mltraining.speech.scoring import pipeline
from mltraining.speech.scoring.quality_measures import QualityMeasures
from tests.support.audio import demo_voice
from tests.support.clients import upload
from tests.support.customers import enrolled_customer
from tests.support.model import activate_model, register_untrained
from tests.support.stand_in import StandInWorker, recording
from tests.support.trail import after
from voiceauth.platform.audit import SYSTEM
from voiceauth.platform.audit.models import AuditEvent
from voiceauth.policies import services as policies
from voiceauth.retraining import evidence, labelled, recalibration
from voiceauth.retraining.models import TrainingSpeaker
from voiceauth.verification.models import Decision

pytestmark = pytest.mark.django_db
SPEAKERS = 4


@pytest.fixture
def model(models_folder: Path, tmp_path: Path) -> ModelVersion:
    return register_untrained(tmp_path)


def table(path: Path, columns: list[str], rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def calibrate(model: ModelVersion, **options: Any) -> str:
    output = StringIO()
    call_command("calibrate", model.version, stdout=output, **options)
    return output.getvalue()


@pytest.fixture
def on_audio(tmp_path: Path) -> dict[str, Any]:
    for speaker in range(SPEAKERS):
        for take in range(3):
            (tmp_path / f"{speaker}-{take}.wav").write_bytes(demo_voice(speaker, take))
    enrollment = [(f"v{speaker}", f"{speaker}-0.wav") for speaker in range(SPEAKERS)]
    trials = [
        (f"v{claimed}", f"{speaker}-{take}.wav", int(claimed == speaker))
        for claimed in range(SPEAKERS)
        for speaker in range(SPEAKERS)
        for take in (1, 2)
    ]
    return {
        "enrollment": table(tmp_path / "enrollment.csv", ["speaker", "audio"], enrollment),
        "trials": table(tmp_path / "trials.csv", ["speaker", "audio", "target"], trials),
        "audio_root": tmp_path,
    }


def test_a_model_is_calibrated_on_trials_and_the_workers_use_it(model: ModelVersion, on_audio: dict[str, Any]) -> None:
    tried = calibrate(model, target_far=0.15, dry_run=True, **on_audio)
    assert "8 target, 24 impostor" in tried and "dry run: nothing was changed" in tried
    assert Calibration.objects.count() == 1 and not AuditEvent.objects.filter(action="model.recalibrated").exists()

    with pytest.raises(CommandError, match="unsupported_rate: .* at least 300 impostor trials, there are 24"):
        calibrate(model, target_far=0.01, **on_audio)

    said = calibrate(model, target_far=0.15, prior=0.2, **on_audio)
    row = Calibration.objects.get(active=True)
    assert f"calibration {row.version} of model {model.version} is in force" in said
    assert (row.target_trials, row.impostor_trials, row.speakers, row.strangers) == (8, 24, SPEAKERS, False)
    assert [sum(row.distribution[name]) for name in ("target", "impostor")] == pytest.approx([1.0, 1.0], abs=1e-4)
    loaded = scorer.load(model.version).pipeline
    assert loaded.calibration.version == row.version
    assert loaded.calibration.prior == 0.2
    assert after(AuditEvent.objects.get(action="model.recalibrated"))["calibration_version"] == row.version


def test_what_is_not_understood_is_refused_by_name(
    model: ModelVersion, on_audio: dict[str, Any], tmp_path: Path
) -> None:
    labels = table(tmp_path / "labels.csv", ["decision", "target"], [])
    with pytest.raises(CommandError, match="Give one source of trials"):
        calibrate(model, target_far=0.1)
    with pytest.raises(CommandError, match="Give one source of trials"):
        calibrate(model, target_far=0.1, decisions=labels, **on_audio)
    with pytest.raises(CommandError, match="lacks the column decision_id"):
        calibrate(model, target_far=0.1, decisions=labels)
    with pytest.raises(CommandError, match="cannot be read"):
        calibrate(model, target_far=0.1, decisions=tmp_path / "gone.csv")
    with pytest.raises(CommandError, match="no registered model 'none'"):
        calibrate(ModelVersion(version="none"), target_far=0.1, **on_audio)
    with pytest.raises(CommandError, match="between 0 and 1"):
        calibrate(model, target_far=1.5, **on_audio)


def test_decisions_keep_what_a_recalibration_needs(ivr: APIClient, worker: StandInWorker) -> None:
    model = activate_model()
    enrolled_customer("ann"), enrolled_customer("bob")
    for voice in ("ann", "bob"):
        content = recording(voice, speech_seconds=6.5, snr_db=31.0)
        ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(content)})
    ivr.post("/api/v1/identify", {"audio": upload(recording("ann"))})
    ivr.post("/api/v1/verify", {"customer_id": "ann", "audio": upload(recording("ann", speech_seconds=0.1))})
    kept = Decision.objects.get(decision=Decision.Result.ACCEPT)
    assert (kept.speech_seconds, kept.enrollment_speech_seconds, kept.snr_db) == (6.5, 30.0, 31.0)

    labels = labels_of(list(Decision.objects.order_by("created_at")), [1, 0, 1, 1])
    found = labelled.trials_of(labels, model)
    assert (found.is_target.tolist(), found.left_out) == ([True, False], 2)  # the best of many, and one not scored
    assert found.scores.tolist() == list(
        Decision.objects.filter(kind="verify", score__isnull=False)
        .order_by("created_at")
        .values_list("score", flat=True)
    )
    np.testing.assert_allclose(found.measures.enrollment_speech_seconds, [30, 30])
    assert labelled.trials_of(labels, ModelVersion(fingerprint="0" * 64)).left_out == 4  # another embedding space


def labels_of(decisions: list[Decision], targets: list[Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({"decision_id": [str(each.pk) for each in decisions], "target": targets})


def test_labels_that_fit_no_decision_are_refused() -> None:
    decision = Decision.objects.create(kind="verify", decision="REJECT")
    for labels, message in [
        (labels_of([decision], ["maybe"]), "target is 1 or 0"),
        (labels_of([decision, decision], [1, 0]), "labelled twice"),
        (labels_of([decision, Decision(pk=uuid4())], [1, 0]), "1 of 2 decisions do not exist"),
    ]:
        with pytest.raises(ValueError, match=message):
            labelled.trials_of(labels, ModelVersion(fingerprint="0" * 64))


def test_a_model_is_calibrated_on_the_banks_own_decisions(model: ModelVersion, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    made, targets = [], []
    for number in range(600):
        target = number % 3 == 0
        seconds = float(np.exp(random.uniform(0, 2)))
        score = (0.6 if target else 0.2) + 0.05 * np.log(seconds) + random.normal(0, 0.1)
        made.append(
            Decision(
                kind="verify", decision="REJECT", customer_id=f"C-{number % 40}", model_fingerprint=model.fingerprint,
                score=score, speech_seconds=seconds, enrollment_speech_seconds=25.0, snr_db=20.0,
            )
        )  # fmt: skip
        targets.append(int(target))
    Decision.objects.bulk_create(made)
    rows = list(zip([each.pk for each in made], targets, strict=True))
    said = calibrate(model, target_far=0.01, decisions=table(tmp_path / "l.csv", ["decision_id", "target"], rows))
    assert "200 target, 400 impostor" in said
    row = calibrations.in_force(model.version)
    assert row is not None and row.source.startswith("decisions ")
    found = scoring.Calibration.from_dict(row.parameters)
    assert found.slope == pytest.approx(40, rel=0.3) and found.weights[0] < 0
    impostors = [each for each, target in zip(made, targets, strict=True) if not target]
    ratios = found.log_likelihood_ratio(
        np.array([each.score for each in impostors]),
        QualityMeasures(np.array([each.speech_seconds for each in impostors]), 25.0, 20.0),
    )
    assert 0.005 <= (found.probability(ratios) >= calibrations.threshold(row, 0.01)).mean() <= 0.01
    assert (row.strangers, row.speakers) == (True, 40)


def test_customers_who_trained_the_model_are_left_out_of_its_trials(ivr: APIClient, worker: StandInWorker) -> None:
    model = activate_model()
    ann = enrolled_customer("ann")
    enrolled_customer("bob")
    for voice in ("ann", "bob"):
        ivr.post("/api/v1/verify", {"customer_id": voice, "audio": upload(recording(voice))})
    labels = labels_of(list(Decision.objects.order_by("created_at")), [1, 1])
    assert set(labelled.trials_of(labels, model).speakers) == {"ann", "bob"}
    TrainingSpeaker.objects.create(model=model, customer=ann)
    assert set(labelled.trials_of(labels, model).speakers) == {"bob"}
    assert recalibration.of_decisions(labels, model, name="x").strangers
    model.erased_speakers = 1  # somebody else trained it, and nobody knows who
    assert not recalibration.of_decisions(labels, model, name="x").strangers


def test_a_calibration_that_takes_away_the_evidence_of_the_model_in_service_is_refused(
    model: ModelVersion, on_audio: dict[str, Any]
) -> None:
    ModelVersion.objects.update(state=ModelVersion.State.ACTIVE)
    with pytest.raises(CommandError, match="not_enough_evidence: .* 24 impostor trials, 300 are needed"):
        calibrate(model, target_far=0.15, strangers=True, **on_audio)
    assert Calibration.objects.count() == 1
    ModelVersion.objects.update(state=ModelVersion.State.CANDIDATE)
    calibrate(model, target_far=0.15, strangers=True, **on_audio)
    assert Calibration.objects.get(active=True).strangers


@pytest.fixture
def frozen_set(on_audio: dict[str, Any], tmp_path: Path, settings: Settings) -> Path:
    (tmp_path / "audio").mkdir()
    for recorded in tmp_path.glob("*.wav"):
        recorded.rename(tmp_path / "audio" / recorded.name)
    settings.VOICEAUTH_FROZEN_SET_DIR = tmp_path
    return tmp_path


def test_a_retrained_candidate_is_calibrated_on_the_frozen_set(model: ModelVersion, frozen_set: Path) -> None:
    policies.change(content={"verification": {"target_far": 0.05}}, reason="x", based_on=0, actor=SYSTEM)
    folder = registry.folder_of(model.version)
    before = (folder / "pipeline.json").read_text()
    recalibration.calibrate_candidate(folder, config=model.config, trained=())
    assert (folder / "pipeline.json").read_text() == before  # 24 impostor trials do not support 5 %
    said = calibrate(model, target_far=0.15, frozen_set=True)
    assert "8 target, 24 impostor" in said
    row = Calibration.objects.get(active=True)
    assert (row.source, row.strangers, row.impostor_trials) == ("the frozen set", True, 24)


def test_a_trained_pipeline_is_registered_with_evidence_where_the_frozen_set_supports_the_policys_rate(
    model: ModelVersion, frozen_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = registry.folder_of(model.version)
    pipeline.amend(folder, calibrated_on=None)  # as a training leaves it
    monkeypatch.setattr(recalibration, "score_labelled_trials", lambda *_: labels_scored(600))
    recalibration.calibrate_candidate(folder, config=model.config, trained=())
    ModelVersion.objects.all().delete()
    found = evidence.of(registry.register(version=model.version))
    assert found.is_sufficient and found.calibration is not None
    assert (found.calibration.source, found.calibration.parameters["prior"]) == ("the frozen set", 0.5)


def labels_scored(count: int) -> ScoredTrials:
    """Scored trials of 20 speakers, a third of them targets."""
    random = np.random.default_rng(2)
    target = np.arange(count) % 3 == 0
    speakers = np.array([f"s{number % 20}" for number in range(count)])
    measures = QualityMeasures(np.full(count, 5.0), np.full(count, 20.0), np.full(count, 20.0))
    scores = np.where(target, 0.7, 0.1) + random.normal(0, 0.1, count)
    return ScoredTrials(scores, target, measures, speakers, speakers)
