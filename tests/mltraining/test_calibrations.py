from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltraining import calibrations, recordings, registry, scorer
from mltraining.errors import ModelNotFound, ModelUnavailable
from mltraining.models import Calibration, ModelVersion
from mltraining.speech.scoring import calibration as scoring
from tests.support import evidence
from tests.support.audio import voice, wav
from tests.support.evidence import ENOUGH
from tests.support.model import export_untrained, register_untrained
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models_folder")]
OPS = Actor(name="ops", role="admin")
FIRST, SECOND = scoring.Calibration.of(20, -9, 0.1, (0.1, 0.2, 0.3)), scoring.Calibration.of(21, -9, 0.1)


def put(model: ModelVersion, calibration: scoring.Calibration) -> Calibration:
    return calibrations.put_into_force(
        version=model.version, parameters=calibration.to_dict(), measured_on=ENOUGH, actor=OPS
    )


def test_one_calibration_of_a_model_is_in_force_and_all_are_kept(tmp_path: Path) -> None:
    model, other = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    registered = calibrations.in_force(model.version)
    assert registered is not None and registered.version == model.calibration_version
    put(model, FIRST), put(other, FIRST)
    put(model, SECOND)
    found = calibrations.in_force(model.version)
    assert found is not None and found.version == SECOND.version
    assert list(model.calibrations.values_list("version", "active")) == [
        (SECOND.version, True), (FIRST.version, False), (registered.version, False),
    ]  # fmt: skip
    model.refresh_from_db()
    assert model.calibration_version == SECOND.version
    stored = model.calibrations.get(version=FIRST.version)
    assert scoring.Calibration.from_dict(stored.parameters) == FIRST  # through the database


def test_a_recalibration_is_in_the_trail_with_what_it_rests_on(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    put(model, FIRST)
    event = AuditEvent.objects.get(action="model.recalibrated")
    assert (event.actor, event.model_version) == ("ops", model.version)
    assert event.before == {"calibration_version": model.calibration_version}
    assert event.after == {"calibration_version": FIRST.version}
    assert event.data["parameters"] == FIRST.to_dict()
    assert (event.data["impostor_trials"], event.data["strangers"]) == (ENOUGH.impostor_trials, True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"strangers": False}, "trained_on_these_speakers"),
        ({"impostor_trials": 299}, "too_few_impostor_trials"),
        ({"target_trials": 29}, "too_few_target_trials"),
        ({"speakers": 9}, "too_few_speakers"),
    ],
)
def test_a_rate_needs_enough_trials_of_enough_strangers(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    model = register_untrained(tmp_path)
    enough = replace(ENOUGH, target_trials=30, impostor_trials=300, speakers=10)
    assert calibrations.shortfalls(evidence.calibrate(model, enough), 0.01) == []
    lacking = calibrations.shortfalls(evidence.calibrate(model, replace(enough, **change)), 0.01)
    assert [each.code for each in lacking] == [code]
    assert lacking[0].as_dict()["message"]


def test_between_two_measured_rates_the_stricter_threshold_counts(tmp_path: Path) -> None:
    found = evidence.calibrate(register_untrained(tmp_path), thresholds=((0.02, 1.0), (0.005, 2.0)))
    at = {rate: calibrations.threshold(found, rate) for rate in (0.02, 0.01, 0.005)}
    assert at[0.02] < at[0.01] == at[0.005] == pytest.approx(1 / (1 + np.exp(-2)))
    assert [each.code for each in calibrations.shortfalls(found, 0.001)] == ["no_threshold"]
    assert calibrations.threshold(found, 0.001) == pytest.approx(1000 / 1001)


def test_an_unknown_model_is_not_calibrated() -> None:
    with pytest.raises(ModelNotFound):
        put(ModelVersion(version="none"), FIRST)


def test_a_model_in_memory_follows_its_calibration_and_a_call_under_way_keeps_its_own(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    before = scorer.load(model.version)
    own = before.pipeline.calibration
    put(model, FIRST)
    after = scorer.load(model.version)
    assert (after.pipeline.calibration, after.calibration.version) == (FIRST, FIRST.version)
    assert (before.pipeline.calibration, before.calibration.version) == (own, model.calibration_version)
    assert after.pipeline.encoder is before.pipeline.encoder  # nothing was loaded again
    assert scorer.load(model.version) is after
    recording = wav(voice(1, seconds=2, sample_rate=8000), 8000)
    assert np.array_equal(recordings.embed(recording, before), recordings.embed(recording, after))
    scorer._models.clear()
    assert scorer.load(model.version).pipeline.calibration == FIRST  # after a restart, too


def test_a_damaged_calibration_makes_the_model_unavailable(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    put(model, FIRST)
    Calibration.objects.filter(active=True).update(parameters=FIRST.to_dict() | {"slope": 21.0})
    with pytest.raises(ModelUnavailable):
        scorer.load(model.version)


def test_a_cohort_is_installed_with_its_model_but_never_one_of_customers(tmp_path: Path) -> None:
    cohort = np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32)
    exported = export_untrained(tmp_path / "pipeline", seed=0, cohort=cohort)
    with pytest.raises(ValueError, match="cohort of customers"):
        registry.install(pipeline=exported, charts=tmp_path, private=["4fbd"])
    model = registry.register(version=registry.install(pipeline=exported, charts=tmp_path))
    cohort_in_use = scorer.load(model.version).pipeline.cohort
    assert cohort_in_use is not None and len(cohort_in_use.means) == 5
