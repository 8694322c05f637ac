from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltraining import calibrations, recordings, registry, scorer
from mltraining.errors import ModelNotFound, ModelUnavailable
from mltraining.models import Calibration, ModelVersion
from mltraining.speech.scoring import calibration as scoring
from tests.mltraining.speech.synthetic import voice, wav
from tests.mltraining.tiny import export_untrained, register_untrained
from voiceauth.platform.audit import Actor
from voiceauth.platform.audit.models import AuditEvent

pytestmark = pytest.mark.django_db
OPS = Actor(name="ops", role="admin")
FIRST, SECOND = scoring.Calibration.of(20, -9, 0.1, (0.1, 0.2, 0.3)), scoring.Calibration.of(21, -9, 0.1)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, settings: Any) -> Iterator[None]:
    settings.VOICEAUTH_MODELS_DIR = tmp_path / "models"
    scorer._models.clear()
    yield
    scorer._models.clear()


def put(model: ModelVersion, calibration: scoring.Calibration, threshold: float) -> Calibration:
    return calibrations.put_into_force(
        version=model.version,
        parameters=calibration.to_dict(),
        threshold=threshold,
        target_far=0.01,
        target_trials=100,
        impostor_trials=1000,
        source="trials dev.csv",
        actor=OPS,
    )


def test_one_calibration_of_a_model_is_in_force_and_all_are_kept(tmp_path: Path) -> None:
    model, other = register_untrained(tmp_path), register_untrained(tmp_path, seed=1)
    assert calibrations.in_force(model.version) is None
    put(model, FIRST, 0.2), put(other, FIRST, 0.4)
    put(model, SECOND, 0.3)
    found = calibrations.in_force(model.version)
    assert found is not None and (found.version, found.threshold) == (SECOND.version, 0.3)
    assert list(model.calibrations.values_list("version", "active")) == [
        (SECOND.version, True), (FIRST.version, False),
    ]  # fmt: skip
    model.refresh_from_db()
    assert (model.calibration_version, model.threshold) == (SECOND.version, 0.3)
    assert scoring.Calibration.from_dict(model.calibrations.last().parameters) == FIRST  # through the database


def test_a_recalibration_is_in_the_trail_with_what_it_rests_on(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    put(model, FIRST, 0.2)
    event = AuditEvent.objects.get(action="model.recalibrated")
    assert (event.actor, event.model_version, event.threshold) == ("ops", model.version, 0.2)
    assert event.before == {"calibration_version": model.calibration_version, "threshold": 0.5}
    assert event.after == {"calibration_version": FIRST.version, "threshold": 0.2}
    assert event.data["parameters"] == FIRST.to_dict()
    assert (event.data["target_far"], event.data["impostor_trials"]) == (0.01, 1000)


def test_an_unknown_model_is_not_calibrated() -> None:
    with pytest.raises(ModelNotFound):
        put(ModelVersion(version="none"), FIRST, 0.2)


def test_a_model_in_memory_follows_its_calibration_and_a_call_under_way_keeps_its_own(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    before = scorer.load(model.version)
    assert before.pipeline.calibration == scoring.Calibration.of(16, -8, 0.5)
    put(model, FIRST, 0.2)
    after = scorer.load(model.version)
    assert (after.pipeline.calibration, after.pipeline.threshold) == (FIRST, 0.2)
    assert (before.pipeline.calibration.version, before.pipeline.threshold) == (model.calibration_version, 0.5)
    assert after.pipeline.pooled is before.pipeline.pooled  # nothing was loaded again
    assert scorer.load(model.version) is after
    recording = wav(voice(1, seconds=2, sample_rate=8000), 8000)
    assert np.array_equal(recordings.embed(recording, before), recordings.embed(recording, after))
    scorer._models.clear()
    assert scorer.load(model.version).pipeline.calibration == FIRST  # after a restart, too


def test_a_damaged_calibration_makes_the_model_unavailable(tmp_path: Path) -> None:
    model = register_untrained(tmp_path)
    put(model, FIRST, 0.2)
    Calibration.objects.update(parameters=FIRST.to_dict() | {"slope": 21.0})
    with pytest.raises(ModelUnavailable):
        scorer.load(model.version)


def test_a_cohort_is_installed_with_its_model_but_never_one_of_customers(tmp_path: Path) -> None:
    cohort = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32)
    exported = export_untrained(tmp_path / "pipeline", seed=0, cohort=cohort)
    with pytest.raises(ValueError, match="cohort of customers"):
        registry.install(pipeline=exported, charts=tmp_path, private=["4fbd"])
    model = registry.register(version=registry.install(pipeline=exported, charts=tmp_path))
    assert len(scorer.load(model.version).pipeline.cohort.means) == 5
